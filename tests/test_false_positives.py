"""What the detector in the package takes for faces in images without any."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = REPOSITORY / "examples" / "benchmarks" / "false_positives.py"


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_there_is_less_than_one_in_fifty_images(precision: str) -> None:
    command = [sys.executable, str(PROGRAM), "--precision", precision]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = re.search(r"^(\d+) false positives in (\d+) images", said, re.MULTILINE)
    assert summary is not None
    false_positives, images = map(int, summary.groups())
    assert images == 120
    assert false_positives < images / 50
