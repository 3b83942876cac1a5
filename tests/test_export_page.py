"""The programs in examples/export.md, run as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.commands.export import run
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.faces import FaceDetections
from retinaface_cli.settings.export import ExportSettings
from tests.conftest import REPOSITORY

IMAGE = REPOSITORY / "examples" / "images" / "astronaut.jpg"
NUMBERS = re.compile(r"-?\d+\.\d*(?:e-?\d+)?")


def read_program(name: str) -> str:
    """The program behind the mark of this name."""
    page = (REPOSITORY / "examples" / "export.md").read_text(encoding="utf-8")
    match = re.search(rf"<!-- test: {name} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert match is not None
    return match[1]


def run_program(name: str, folder: Path) -> list[list[float]]:
    """The numbers of each line that it prints, without this package on its path."""
    shutil.copy(IMAGE, folder)
    (folder / "program.py").write_text(read_program(name))
    result = subprocess.run(
        [sys.executable, "-I", "program.py"], cwd=folder, capture_output=True, text=True, check=True, timeout=120
    )
    return [list(map(float, NUMBERS.findall(line))) for line in result.stdout.replace("\n ", " ").splitlines()]


@pytest.fixture(scope="module")
def faces() -> FaceDetections:
    options = {"rescore": False, "coarse_pass": False, "box_voting": False, "score_threshold": 0.5}
    return FaceDetector.load("mobilenet0.25", device="cpu", backend="torch", **options).detect(IMAGE)


def assert_is_face(numbers: list[float], faces: FaceDetections, index: int) -> None:
    """Score, box and landmarks as they are printed: rounded."""
    wanted = [faces.scores[index], *faces.boxes[index], *faces.landmarks[index].ravel()]
    np.testing.assert_allclose(numbers[0], wanted[0], atol=1e-3)
    np.testing.assert_allclose(numbers[1:], wanted[1:], atol=0.1)


def test_the_end_to_end_file_is_run_in_ten_lines(tmp_path: Path, faces: FaceDetections) -> None:
    assert len([line for line in read_program("end2end").splitlines() if line]) <= 10
    run(ExportSettings(weights="mobilenet0.25", output=tmp_path / "faces.onnx", end2end=True, score_threshold=0.5))
    printed = run_program("end2end", tmp_path)
    assert len(printed) == len(faces) >= 1
    for index, numbers in enumerate(printed):
        assert_is_face(numbers, faces, index)


def test_raw_heads_are_decoded_by_what_the_file_says(tmp_path: Path, faces: FaceDetections) -> None:
    run(ExportSettings(weights="mobilenet0.25", output=tmp_path / "face.onnx"))
    (numbers,) = run_program("raw", tmp_path)
    assert_is_face(numbers, faces, 0)
