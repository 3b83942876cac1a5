"""Claims of detections on faces."""

from __future__ import annotations

import numpy as np
import pytest

import retinaface_cli.evaluation.matching as matching
from retinaface_cli.evaluation.matching import match_faces, pair_ious
from tests.evaluation.images import detected, labelled, random_images, tables

A = (0, 0, 20, 20)
B = (100, 0, 130, 30)


def test_overlap_with_and_without_border() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 20, 20]], np.float32)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [30, 0, 40, 10], [20, 20, 20, 20]], np.float32)
    assert pair_ious(a, b).tolist() == [50 / 150, 1.0, 0.0, 0.0]
    assert pair_ious(a, b, border=1.0).tolist() == [66 / 176, 1.0, 0.0, 1.0]


def test_boxes_turned_inside_out_overlap_nothing() -> None:
    inverted = np.array([[10, 10, 2, 3]], np.float32)
    assert pair_ious(inverted, np.array([[0, 0, 10, 10]], np.float32)).tolist() == [0.0]


@pytest.mark.parametrize("border", [0.0, 1.0])
@pytest.mark.parametrize("iou_threshold", [0.1, 0.5, 0.9])
def test_no_pair_is_overlooked(border: float, iou_threshold: float) -> None:
    """All pairs of an image, one by one, against the claims; boxes of whole pixels, so that overlaps can be equal."""
    labels, detections = random_images(7, num_images=2, max_faces=30, max_detections=400)
    for image, found in zip(labels, detections, strict=True):
        matches = match_faces(*tables([image], [found]), iou_threshold=iou_threshold, border=border)
        boxes, faces = matches.detections.boxes, image.faces.boxes
        ious = pair_ious(np.repeat(boxes, len(faces), 0), np.tile(faces, (len(boxes), 1)), border=border)
        table = ious.reshape(len(boxes), len(faces))
        expected = np.where(table.max(axis=1) >= iou_threshold, table.argmax(axis=1), -1)
        assert matches.matched.tolist() == expected.tolist()
        assert (expected >= 0).any()
        assert (expected == -1).any()


def test_claims_point_into_the_faces_of_all_images() -> None:
    labels = [labelled(A, B, name="a.jpg"), labelled(name="none.jpg"), labelled(B, A, name="b.jpg")]
    detections = [detected((0.5, B), (0.9, B), name="a.jpg"), detected((0.9, A), (0.1, (0, 0, 1, 1)), name="b.jpg")]
    matches = match_faces(*tables(labels, detections))
    assert matches.face_images.tolist() == [0, 0, 2, 2]
    assert matches.detection_images.tolist() == [0, 0, 2, 2]
    assert matches.matched.tolist() == [1, 1, 3, -1]
    assert matches.is_first.tolist() == [True, False, True, False]
    assert matches.scores.tolist() == pytest.approx([0.9, 0.5, 0.9, 0.1])
    is_true, is_counted = matches.judge(np.array([True, False, True, True]))
    assert is_true.tolist() == [False, False, True, False]
    assert is_counted.tolist() == [False, False, True, True]


def test_crowded_images_are_matched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, detections = random_images(0)
    whole = match_faces(*tables(labels, detections))
    monkeypatch.setattr(matching, "_MAX_PAIRS", 16)
    parts = match_faces(*tables(labels, detections))
    np.testing.assert_array_equal(parts.matched, whole.matched)
