"""What the detector in the package takes for faces in images without any."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = REPOSITORY / "examples" / "benchmarks" / "false_positives.py"


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (["-w", "yunet"], 4),
        (["-w", "mobilenet0.25", "--rescore"], 2),
        (["-w", "mobilenet0.25", "--rescore", "--precision", "bf16"], 2),
    ],
    ids=["yunet", "mobilenet0.25", "mobilenet0.25 in bf16"],
)
def test_there_are_few_in_images_without_faces(options: list[str], limit: int) -> None:
    command = [sys.executable, str(PROGRAM), *options]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    summary = re.search(r"^(\d+) false positives in (\d+) images", said, re.MULTILINE)
    assert summary is not None
    false_positives, images = map(int, summary.groups())
    assert images == 120
    assert false_positives <= limit
