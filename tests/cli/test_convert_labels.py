"""The command line of convert-labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import label_txt, write_text


def test_labels_are_converted_by_the_ending_of_out(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert-labels", str(label_txt(tmp_path)), str(tmp_path / "out.csv")])
    assert result.exit_code == 0
    assert read_labels(tmp_path / "out.csv").format_name == "csv"


def test_a_dry_run_takes_all_paths_as_sources_and_writes_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["convert-labels", "-n", str(label_txt(tmp_path))])
    assert result.exit_code == 0
    assert "2 images, 2 faces" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["label.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["{source}"],
        [],
        ["{source}", "out.json", "--from", "pdf"],
        ["{source}", "out.json", "--to", "pdf"],
        ["{source}", "out.json", "--split", "all"],
        ["{source}", "out.json", "--invalid", "maybe"],
        ["{source}", "out.json", "--holdout", "1.5"],
        ["{source}", "out.json", "--subset", "0"],
        ["{source}", "out.json", "--min-size", "-1"],
    ],
)
def test_bad_usage_exits_with_2(arguments: list[str], tmp_path: Path) -> None:
    source = str(label_txt(tmp_path))
    result = CliRunner().invoke(app, ["convert-labels", *(text.format(source=source) for text in arguments)])
    assert result.exit_code == 2
    assert not Path("out.json").exists()


def test_an_error_in_the_labels_is_one_line_and_exits_with_1(tmp_path: Path) -> None:
    source = write_text(tmp_path / "labels.txt", "# a.jpg\n1 2 3\n")
    command = [sys.executable, "-m", "retinaface_cli", "convert-labels", str(source), str(tmp_path / "out.json")]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"error: {source}:2: expected 4 box numbers, got 3\n"


def test_the_command_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from retinaface_cli.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'scipy', 'matplotlib')))"
    )
    command = [sys.executable, "-c", code, "convert-labels", str(label_txt(tmp_path)), str(tmp_path / "out.json")]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_a_dry_run_without_sources_is_bad_usage() -> None:
    result = CliRunner().invoke(app, ["convert-labels", "--dry-run"])
    assert result.exit_code == 2
    assert "give at least one SOURCE" in result.output
