"""Several looks at an image: the mirror, the two ways of merging, and what a detector is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.tta import (
    SCALE_FACTORS,
    View,
    detect_augmented,
    mirror,
    soften_scores,
    views_of,
    vote_faces,
)
from retinaface_cli.faces import FaceDetections
from retinaface_cli.settings.detection import DetectionSettings

POINTS = np.array([[2, 2], [8, 2], [5, 5], [3, 8], [7, 8]], np.float32)


def faces(*rows: tuple[float, Sequence[float]]) -> FaceDetections:
    """Faces as (score, box), with landmarks in the box's top left corner."""
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    landmarks = POINTS + boxes[:, None, :2]
    return FaceDetections(boxes, landmarks, np.array([score for score, _ in rows], np.float32))


class FakeDetector(FaceDetector):
    """Finds one face: the bright rectangle of the image, with a score that tells its width."""

    def __init__(self, max_size: int | None) -> None:
        self.settings = DetectionSettings(max_size=max_size, score_threshold=0.02)
        self.seen: list[list[tuple[int, ...]]] = []

    def target_size(self, image: npt.NDArray[np.uint8]) -> tuple[int, int]:
        return TestScale.of(self.settings).target_size((image.shape[0], image.shape[1]))

    def detect_resized(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[FaceDetections]:
        self.seen.append([image.shape[:2] for image in images])
        found = []
        for image in images:
            y, x = np.nonzero(image[..., 0] > 128)
            box = (float(x.min()), float(y.min()), float(x.max()) + 1, float(y.max()) + 1)
            found.append(faces((0.5 if image.shape[1] < 100 else 0.75, box)))
        return found


def one_image(box: tuple[int, int, int, int] = (16, 32, 48, 64)) -> npt.NDArray[np.uint8]:
    image = np.zeros((96, 128, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def detect(detector: FakeDetector, images: Sequence[npt.NDArray[np.uint8]], *kinds: str) -> list[FaceDetections]:
    detector.settings = detector.settings.model_copy(update={"tta": kinds})
    return detect_augmented(detector, images)


def test_the_mirror_swaps_sides_and_their_names_and_is_its_own_inverse() -> None:
    original = faces((0.9, (10, 20, 30, 40)))
    mirrored = mirror(original, width=100)
    assert mirrored.boxes.tolist() == [[70, 20, 90, 40]]
    # eyes at x = 12 and 18 -> 88 and 82: the one at 82 is now the left one
    assert mirrored.landmarks[0].tolist() == [[82, 22], [88, 22], [85, 25], [83, 28], [87, 28]]
    again = mirror(mirrored, width=100)
    np.testing.assert_array_equal(again.boxes, original.boxes)
    np.testing.assert_array_equal(again.landmarks, original.landmarks)


def test_voting_takes_the_mean_weighted_by_score_and_the_best_score() -> None:
    # IoU of the first two is 90 / 110; (0.8 * 0 + 0.4 * 1) / 1.2 = 1/3
    result = vote_faces(faces((0.8, (0, 0, 10, 10)), (0.6, (50, 50, 60, 60)), (0.4, (1, 0, 11, 10))), iou_threshold=0.4)
    np.testing.assert_allclose(result.boxes, [[1 / 3, 0.0, 31 / 3, 10.0], [50.0, 50.0, 60.0, 60.0]], rtol=1e-6)
    np.testing.assert_allclose(result.landmarks[0], POINTS + np.array([1 / 3, 0]), rtol=1e-6)
    assert result.scores.tolist() == pytest.approx([0.8, 0.6])


def test_voting_leaves_apart_what_suppression_would_leave() -> None:
    # IoU exactly 50 / 150, under the threshold
    result = vote_faces(faces((0.8, (0, 0, 10, 10)), (0.4, (5, 0, 15, 10))), iou_threshold=0.4)
    assert result.boxes.tolist() == [[0, 0, 10, 10], [5, 0, 15, 10]]
    assert len(vote_faces(FaceDetections.empty(), iou_threshold=0.4)) == 0


def test_boxes_without_area_vote_for_themselves() -> None:
    result = vote_faces(faces((0.8, (5, 5, 5, 5)), (0.7, (5, 5, 5, 5)), (0.6, (0, 0, 10, 10))), iou_threshold=0.4)
    assert result.boxes.tolist() == [[5, 5, 5, 5], [5, 5, 5, 5], [0, 0, 10, 10]]


def test_soft_nms_lowers_scores_by_overlap() -> None:
    # IoU 1/3 with the first: 0.6 * exp(-(1/9) / 0.5) = 0.48, then behind the far face of 0.5
    result = soften_scores(
        faces((0.6, (5, 0, 15, 10)), (0.9, (0, 0, 10, 10)), (0.5, (50, 50, 60, 60))), score_threshold=0.02
    )
    assert result.boxes[:, 0].tolist() == [0, 50, 5]
    assert result.scores.tolist() == pytest.approx([0.9, 0.5, 0.6 * np.exp(-2 / 9)])


def test_soft_nms_drops_what_falls_to_the_threshold() -> None:
    # the same place: 0.3 * exp(-2) = 0.0406
    twice = faces((0.9, (0, 0, 10, 10)), (0.3, (0, 0, 10, 10)))
    assert len(soften_scores(twice, score_threshold=0.04)) == 2
    assert len(soften_scores(twice, score_threshold=0.041)) == 1
    assert len(soften_scores(FaceDetections.empty(), score_threshold=0.02)) == 0


def test_lists_are_joined_by_score() -> None:
    joined = FaceDetections.concatenate(
        [faces((0.5, (0, 0, 1, 1))), FaceDetections.empty(), faces((0.9, (2, 2, 3, 3)))]
    )
    assert joined.scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(FaceDetections.concatenate([])) == 0


def test_views_are_all_combinations() -> None:
    assert views_of(DetectionSettings(tta=("flip",))) == [View(1.0, False), View(1.0, True)]
    assert len(views_of(DetectionSettings(tta=("flip", "multiscale")))) == 2 * len(SCALE_FACTORS)


def test_faces_of_all_views_come_back_to_the_image() -> None:
    detector = FakeDetector(64)
    (found,) = detect(detector, [one_image()], "flip", "multiscale")
    np.testing.assert_allclose(found.boxes, [[16, 32, 48, 64]], atol=0.5)
    assert found.scores.tolist() == [0.75]  # of the largest views, 128 pixels wide
    sizes = [size for batch in detector.seen for size in batch]
    assert sorted(set(sizes)) == [(round(48 * factor), round(64 * factor)) for factor in SCALE_FACTORS]


def test_images_of_like_size_go_together_and_results_keep_their_order() -> None:
    detector = FakeDetector(None)
    tall = np.zeros((200, 80, 3), np.uint8)
    tall[10:20, 10:20] = 255
    images = [one_image(), tall, one_image((80, 0, 90, 10))]
    found = detect(detector, images, "flip")
    assert [one.boxes[0].tolist() for one in found] == [[16, 32, 48, 64], [10, 10, 20, 20], [80, 0, 90, 10]]
    assert detector.seen[0] == [(96, 128), (96, 128)]


def test_only_so_many_faces_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    two = faces((0.9, (0, 0, 9, 9)), (0.8, (20, 20, 30, 30)))
    monkeypatch.setattr(FakeDetector, "detect_resized", lambda _, images: [two for _ in images])
    detector = FakeDetector(None)
    assert len(detect(detector, [one_image()], "flip")[0]) == 4
    detector.settings = detector.settings.model_copy(update={"keep_top_k": 1})
    assert len(detect(detector, [one_image()], "flip")[0]) == 1
