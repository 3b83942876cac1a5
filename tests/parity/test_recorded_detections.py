"""The detector against recorded detections of the old evaluation pipeline: original size, score above .02, +1 areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from retinaface_cli.commands.evaluate.truth import GroundTruth, read_truth
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.evaluation.wider_face import evaluate_wider_face
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import FaceTable
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.settings.detection import Backend, DetectionSettings

MIN_SCORE = 0.1
PLAIN = DetectionSettings(
    max_size=None,
    precision="32",
    score_threshold=0.02,
    nms_inclusive=True,
    pre_nms_top_k=100_000,
    keep_top_k=100_000,
    rescore=False,
    coarse_pass=False,
)

Rows = npt.NDArray[np.float32]
"""(N, 5 or 15) x1, y1, x2, y2, score, and perhaps x and y of five points."""


def find_unmatched(rows: Rows, others: Rows) -> list[Rows]:
    """The rows of at least MIN_SCORE that have no other within .1 px a coordinate and .001 in score."""
    tolerance = np.full(rows.shape[1], 0.1)
    tolerance[4] = 1e-3
    strong = rows[rows[:, 4] >= MIN_SCORE]
    return [row for row in strong if not (np.abs(others - row) <= tolerance).all(axis=1).any()]


def check_images(shared: Path, backend: Backend, *, every: int) -> int:
    """Compares every n-th recorded image, both ways; returns how many detections were compared."""
    weights = load_weights(shared / "weights" / "retinaface_mv1_0.25.pth")
    detector = FaceDetector(weights, PLAIN.model_copy(update={"backend": backend}), device="cpu")
    compared = 0
    with np.load(shared / "reference" / "wider_dev_detections.npz") as recorded:
        for name in sorted(recorded)[::every]:
            image = load_rgb(shared / "data" / "wider_dev" / "WIDER_val" / "images" / name.replace("|", "/"))
            faces = detector.detect(image)
            ours = np.column_stack([faces.boxes, faces.scores])
            theirs = recorded[name][:, :5].copy()
            limits = [image.shape[1], image.shape[0]] * 2  # ours are clipped to the image
            theirs[:, :4] = np.clip(theirs[:, :4], 0, limits)
            assert not find_unmatched(theirs, ours), name
            assert not find_unmatched(ours, theirs), name
            compared += int((theirs[:, 4] >= MIN_SCORE).sum())
    return compared


@pytest.mark.shared
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_detections_equal_the_recorded_ones_on_some_images(shared: Path, backend: Backend) -> None:
    assert check_images(shared, backend, every=40) > 100


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_detections_equal_the_recorded_ones_on_all_404_images(shared: Path, backend: Backend) -> None:
    assert check_images(shared, backend, every=1) > 5000


def average_precisions(truth: GroundTruth, found: dict[str, FaceDetections]) -> list[float]:
    """AP on the easy, medium and hard faces of WIDER FACE."""
    detections = FaceTable.from_detections(list(found), list(found.values()))
    report = evaluate_wider_face(truth.faces, detections, subsets=truth.subsets)
    return [report.subsets[name].ap for name in ("easy", "medium", "hard")]


@pytest.mark.shared
@pytest.mark.slow
def test_average_precision_is_the_recorded_one_before_boxes_are_clipped(shared: Path) -> None:
    folder = shared / "data" / "wider_dev"
    detector = FaceDetector(load_weights(shared / "weights" / "retinaface_mv1_0.25.pth"), PLAIN, device="cpu")
    truth = read_truth(folder / "ground_truth")
    found = {}
    for name in truth.faces.file_names:
        pixels = load_rgb(folder / "WIDER_val" / "images" / name)
        found[name] = detector.detect_resized([pixels])[0]  # at original size, and not clipped
    recorded = [0.8883384274, 0.8544885426, 0.7088689507]  # the official Python tool on the recorded detections
    assert average_precisions(truth, found) == pytest.approx(recorded, abs=2e-4)
