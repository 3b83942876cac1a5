"""examples/ray_infer.py on a local Ray of two workers."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli import FaceDetector
from tests.conftest import REPOSITORY

IMAGES = REPOSITORY / "examples" / "images"


def test_a_detector_that_was_pickled_finds_the_same_faces() -> None:
    detector = FaceDetector.load("mobilenet0.25", device="cpu", max_size=320)
    other = pickle.loads(pickle.dumps(detector))
    one, two = (each.detect(IMAGES / "astronaut.jpg") for each in (detector, other))
    np.testing.assert_array_equal(one.boxes, two.boxes)
    assert len(one) == 1


@pytest.mark.slow
def test_ray_finds_the_same_faces_with_two_workers(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    words = [sys.executable, "examples/ray_infer.py", str(IMAGES), str(tmp_path / "out"), "--max-size", "320"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_TMPDIR": "/tmp", "RAY_USAGE_STATS_ENABLED": "0"}
    finished = subprocess.run(
        [*words, "--num-workers", "2", "--batch-size", "1"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    assert len(rows) == 5
    detector = FaceDetector.load("mobilenet0.25", device="cpu", max_size=320)
    for row in rows:
        faces = detector.detect(row["name"])
        assert len(row["boxes"]) == len(faces)
        np.testing.assert_allclose(row["boxes"], faces.boxes, atol=1)  # another library decodes the JPEG
