"""Every backend and every exported file against torch in 32 bits, on real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from retinaface_cli.commands.export import run
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.faces import FaceDetections
from retinaface_cli.settings.export import ExportSettings
from tests.parity.test_recorded_detections import Rows, find_unmatched

OPTIONS: dict[str, Any] = {"score_threshold": 0.02, "rescore": False, "coarse_pass": False, "box_voting": False}


def rows_of(faces: FaceDetections) -> Rows:
    """(N, 15) box, score and points."""
    return np.column_stack([faces.boxes, faces.scores, faces.landmarks.reshape(-1, 10)])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["retinaface_mv1_0.25.pth", "yunet_n.pth"])
def test_all_of_them_find_what_torch_finds(shared: Path, tmp_path: Path, name: str) -> None:
    weights = shared / "weights" / name
    for file in ("face.onnx", "face.xml"):
        run(ExportSettings(weights=str(weights), output=tmp_path / file), console=Console(quiet=True))
    detectors = {
        "onnx": FaceDetector.load(weights, device="cpu", backend="onnx", **OPTIONS),
        "openvino": FaceDetector.load(weights, device="cpu", backend="openvino", **OPTIONS),
        "face.onnx": FaceDetector.load(tmp_path / "face.onnx", **OPTIONS),
        "face.onnx in OpenVINO": FaceDetector.load(tmp_path / "face.onnx", backend="openvino", **OPTIONS),
        "face.xml": FaceDetector.load(tmp_path / "face.xml", **OPTIONS),
    }
    torch_detector = FaceDetector.load(weights, device="cpu", backend="torch", **OPTIONS)
    images = sorted((shared / "data" / "wider_dev" / "WIDER_val" / "images").rglob("*.jpg"))[::50]
    compared = 0
    for image in images:
        wanted = rows_of(torch_detector.detect(image))
        compared += int((wanted[:, 4] >= 0.1).sum())
        for kind, detector in detectors.items():
            found = rows_of(detector.detect(image))
            assert not find_unmatched(wanted, found), (kind, image.name)
            assert not find_unmatched(found, wanted), (kind, image.name)
    assert compared > 100
