"""The detector in the package against its start weights, on images that neither was trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinaface_cli.commands.evaluate.truth import read_truth
from retinaface_cli.data.preprocessing import TestScale, load_rgb
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.weights import PACKAGED_NAME, resolve_weights
from retinaface_cli.model.checkpoints.loading import load_weights
from tests.parity.test_recorded_detections import OPTIONS, average_precisions

START = {"original": (0.8883, 0.8545, 0.7089), "640": (0.8777, 0.7954, 0.4981)}
"""Recorded AP of the start weights on easy, medium and hard, by test scale."""


def measure(shared: Path, scale: TestScale) -> list[float]:
    folder = shared / "data" / "wider_dev"
    detector = FaceDetector(load_weights(resolve_weights(PACKAGED_NAME)), device="cpu", scale=scale, options=OPTIONS)
    truth = read_truth(folder / "ground_truth")
    images = folder / "WIDER_val" / "images"
    found = {name: detector.detect(load_rgb(images / name)) for name in truth.faces.file_names}
    return average_precisions(truth, found)


@pytest.mark.shared
@pytest.mark.slow
def test_it_is_ahead_of_its_start_at_original_size(shared: Path) -> None:
    gains = [ap - start for ap, start in zip(measure(shared, TestScale()), START["original"], strict=True)]
    assert min(gains) >= 0
    assert max(gains) >= 0.01


@pytest.mark.shared
@pytest.mark.slow
def test_it_finds_more_of_the_smallest_faces_in_small_images(shared: Path) -> None:
    assert measure(shared, TestScale(long_side=640))[2] >= START["640"][2] + 0.03
