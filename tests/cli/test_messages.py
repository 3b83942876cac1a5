"""What every command says, to whom, and how much."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from retinaface_cli.cli.app import app
from tests.cli.test_app import COMMANDS
from tests.commands.evaluate_making import write_detections, write_images, write_labels
from tests.commands.test_evaluate import DETECTIONS, LABELS
from tests.commands.training_runs import SMALL, write_data
from tests.conftest import REPOSITORY


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Arguments of each command, which writes to `out`."""
    monkeypatch.chdir(tmp_path)
    labels = str(write_labels(tmp_path / "labels.json", LABELS))
    predictions = str(write_detections(tmp_path / "predictions.json", DETECTIONS))
    images = str(write_images(tmp_path / "images", LABELS))
    changes = {**SMALL, "trainer.max_epochs": 1, "trainer.limit_train_batches": 1, "output": "out"}
    train = [str(write_data(tmp_path / "faces"))]
    for key, value in changes.items():
        train += ["--set", f"{key}={json.dumps(value)}"]
    return {
        "convert-labels": [labels, "out.json"],
        "infer": [images, "-o", "out", "--max-size", "64"],
        "evaluate": ["-p", predictions, "-l", labels, "-o", "out"],
        "export": ["mobilenet0.25", "-o", "out/face.onnx", "--size", "64", "64"],
        "visualize": [images, "-p", predictions, "-o", "out"],
        "train": train,
    }


def run(command: str, *arguments: str) -> Result:
    result = CliRunner().invoke(app, [command, *arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_json_prints_one_object_on_standard_output_and_nothing_else(
    command: str, arguments: dict[str, list[str]]
) -> None:
    result = run(command, *arguments[command], "--json")
    content = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    if command == "convert-labels":
        assert content["outputs"] == [{"path": "out.json", "format": "json", "num_images": 2, "num_faces": 3}]
        assert content["faces"]["all"] == 3
    else:
        assert content["folder"] == "out"
    expected: dict[str, dict[str, Any]] = {
        "infer": {"num_images": 2, "num_failures": 0},
        "visualize": {"num_images": 2, "num_predictions": 3},  # of four those that score .5 or more
        "train": {"status": "finished", "weights": "out/best.safetensors"},
    }
    if command == "export":
        assert [Path(file["path"]).stat().st_size for file in content["files"]] == [content["files"][0]["bytes"]]
    figures = expected.get(command, {})
    assert {name: content[name] for name in figures} == figures
    if command == "evaluate":
        assert content["ap50"]["num_faces"] == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_prints_nothing(command: str, arguments: dict[str, list[str]]) -> None:
    result = run(command, *arguments[command], "--quiet")
    assert (result.stdout, result.stderr) == ("", "")


def test_quiet_and_json_print_the_object_alone(arguments: dict[str, list[str]]) -> None:
    result = run("visualize", *arguments["visualize"], "-q", "--json")
    assert json.loads(result.stdout)["folder"] == "out"
    assert result.stderr == ""


def test_verbose_lists_all_failures(arguments: dict[str, list[str]]) -> None:
    for number in range(7):
        Path(f"images/broken{number}.jpg").write_text("no image")
    few = run("infer", *arguments["infer"]).stderr
    assert few.count(".jpg: ") == 5 and "and 2 more" in few
    assert run("infer", *arguments["infer"], "--overwrite", "--verbose").stderr.count(".jpg: ") == 7


def test_verbose_says_where_an_error_came_up(tmp_path: Path) -> None:
    def call(*options: str) -> str:
        command = [sys.executable, "-m", "retinaface_cli", "infer", "missing.jpg", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
        )
        assert done.returncode == 1 and done.stdout == ""
        return done.stderr

    assert call() == "error: missing.jpg: no such file or folder\n"
    told = call("--verbose")
    assert told.startswith("Traceback") and told.endswith("\nerror: missing.jpg: no such file or folder\n")


def test_quiet_and_verbose_exclude_each_other(arguments: dict[str, list[str]]) -> None:
    result = CliRunner().invoke(app, ["infer", *arguments["infer"], "-q", "--verbose"])
    assert "quiet and verbose exclude each other" in str(result.exception)


COLOR = re.compile(rb"\x1b\[[0-9;]*3[0-9]")
ON_A_TERMINAL = "import pty, sys; pty.spawn([sys.executable, '-m', 'retinaface_cli', *sys.argv[1:]])"


@pytest.mark.parametrize("command", [["visualize", "--help"], ["convert-labels", "labels.json", "--dry-run"]])
def test_colors_are_for_terminals_that_want_them(command: list[str], tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.json", LABELS)

    def printed(*start: str, **variables: str) -> bytes:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color", **variables}
        done = subprocess.run([sys.executable, *start, *command], cwd=tmp_path, env=environment, capture_output=True)
        assert len(done.stdout) > 100
        return done.stdout

    on_terminal = printed("-c", ON_A_TERMINAL)
    assert b"\x1b[" in on_terminal
    assert COLOR.search(printed("-c", ON_A_TERMINAL, NO_COLOR="1")) is None
    assert b"\x1b[" not in printed("-m", "retinaface_cli")
