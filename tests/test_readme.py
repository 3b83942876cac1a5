"""README's commands print what it says, and its Python lines give what it says."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
TIMES = re.compile(r"\d+\.\d s \(.*\)")


def lines_of(text: str) -> list[str]:
    """Lines without what depends on the machine, and without spaces at their ends."""
    return [TIMES.sub("N s (...)", line).rstrip() for line in text.splitlines()]


def is_printed(expected: list[str], printed: list[str]) -> bool:
    """Whether the lines are the printed ones; `...` stands for any number of lines."""
    if not expected:
        return not printed
    if expected[0] == "...":
        return any(is_printed(expected[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and expected[0] == printed[0] and is_printed(expected[1:], printed[1:])


def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    assert len(CONSOLE) >= 5
    for block in CONSOLE:  # one after the other: they read what those before have written
        command, *expected = block.splitlines()
        program, *arguments = shlex.split(command.removeprefix("$ "))
        assert program == "retinaface"
        done = subprocess.run(
            [sys.executable, "-m", "retinaface_cli", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "110"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert is_printed(lines_of("\n".join(expected)), lines_of(done.stdout)), done.stdout


def test_the_python_lines_give_what_the_page_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    (block,) = (
        text for text in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL) if ">>>" in text
    )
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    assert len(test.examples) == 3
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert results.failed == 0


def test_the_page_is_short() -> None:
    assert len(README.splitlines()) <= 220
