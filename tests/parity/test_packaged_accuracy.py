"""The detector in the package against its start weights, on images that neither was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinaface_cli.commands.evaluate.truth import read_truth
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.model.checkpoints.loading import load_weights
from tests.parity.test_recorded_detections import PLAIN, average_precisions

START = {
    ("mobilenet0.25", None): (0.8883, 0.8545, 0.7089),
    ("mobilenet0.25", 640): (0.8777, 0.7954, 0.4981),
    ("yunet", None): (0.8606, 0.8589, 0.8023),
    ("yunet", 640): (0.8713, 0.8388, 0.6644),
}
"""Recorded AP of the start weights on easy, medium and hard, by the longest side; of yunet with suppression at .45."""


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize(("name", "max_size"), START)
def test_it_is_as_good_as_its_start(shared: Path, name: str, max_size: int | None) -> None:
    folder = shared / "data" / "wider_dev"
    settings = PLAIN.model_copy(update={"max_size": max_size, "nms_iou_threshold": 0.45 if name == "yunet" else 0.4})
    detector = FaceDetector(load_weights(resolve_weights(name)), settings, device="cpu")
    truth = read_truth(folder / "ground_truth")
    images = folder / "WIDER_val" / "images"
    found = {name: detector.detect(load_rgb(images / name)) for name in truth.faces.file_names}
    gains = [ap - start for ap, start in zip(average_precisions(truth, found), START[name, max_size], strict=True)]
    assert min(gains) >= -0.002
