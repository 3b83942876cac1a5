"""The help of every command."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from tests.golden.golden import check_text

PLAIN = {"TERM": "dumb", "COLUMNS": "100", "LINES": "50", "NO_COLOR": "1"}


@pytest.mark.parametrize("command", ["", "convert-labels", "train", "infer", "evaluate", "export", "visualize"])
def test_help_reads_as_ever(command: str) -> None:
    result = CliRunner(env=PLAIN).invoke(app, [*command.split(), "--help"], prog_name="retinaface")
    assert result.exit_code == 0
    lines = (line.rstrip() for line in result.output.splitlines())
    check_text(f"help/{command or 'retinaface'}.txt", "\n".join(lines).strip() + "\n")
