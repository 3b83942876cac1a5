"""What the detector in the package takes for faces in pictures without any."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = REPOSITORY / "examples" / "benchmarks" / "false_positives.py"


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_there_is_less_than_one_in_fifty_pictures(precision: str) -> None:
    command = [sys.executable, str(PROGRAM), "--precision", precision]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = re.search(r"^(\d+) false positives in (\d+) pictures", said, re.MULTILINE)
    assert summary is not None
    false_positives, pictures = map(int, summary.groups())
    assert pictures == 120
    assert false_positives < pictures / 50
