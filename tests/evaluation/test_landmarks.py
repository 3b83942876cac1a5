"""Landmark errors by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from retinaface_cli.evaluation.landmarks import score_landmarks
from retinaface_cli.faces import FaceDetections, FaceLabels, ImageDetections, ImageLabels
from tests.evaluation.images import matched

POINTS = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float32)  # eyes 20 px apart
BOX = (0.0, 0.0, 40.0, 40.0)  # box size 40 px


def labels(
    points: npt.NDArray[np.float32] | None = POINTS, *, ignore: bool = False, name: str = "a.jpg"
) -> ImageLabels:
    values = np.full((1, 5, 2), np.nan, np.float32) if points is None else points[None]
    known = np.isfinite(values[..., 0])
    return ImageLabels(name, FaceLabels(np.array([BOX], np.float32), values, known, np.array([ignore])))


def found(
    points: npt.NDArray[np.float32] = POINTS, *, box: tuple[float, ...] = BOX, name: str = "a.jpg"
) -> ImageDetections:
    faces = FaceDetections(np.array([box], np.float32), points[None], np.array([0.05], np.float32))
    return ImageDetections(name, faces)


def shifted(*shifts: tuple[int, float, float]) -> npt.NDArray[np.float32]:
    points: npt.NDArray[np.float32] = POINTS.copy()
    for index, dx, dy in shifts:
        points[index] += (dx, dy)
    return points


def test_errors_are_parts_of_the_eye_distance_and_of_the_box() -> None:
    # distances 5 (3-4-5) at the nose and 5 at the first eye: mean 2 px
    report = score_landmarks(matched([labels()], [found(shifted((2, 3, 4), (0, 5, 0)))]))
    assert report.nme_eyes == pytest.approx(2 / 20)
    assert report.nme_box == pytest.approx(2 / 40)
    assert report.points_eyes == pytest.approx(
        {"left_eye": 0.25, "right_eye": 0.0, "nose": 0.25, "left_mouth": 0.0, "right_mouth": 0.0}
    )
    assert report.points_box["nose"] == pytest.approx(0.125)
    assert (report.num_faces, report.num_matched) == (1, 1)


def test_a_face_has_failed_above_a_tenth_of_the_eye_distance() -> None:
    labelled = [labels(name=f"{i}.jpg") for i in range(4)]
    nose_off = (0.0, 9.9, 10.1, 60.0)  # mean errors of 0, 1.98, 2.02 and 12 px over 20 px
    detections = [found(shifted((2, dx, 0)), name=f"{i}.jpg") for i, dx in enumerate(nose_off)]
    report = score_landmarks(matched(labelled, detections))
    assert report.failure_rate == 0.5
    assert report.median_eyes == pytest.approx(2 / 20)
    assert report.nme_eyes == pytest.approx((0 + 1.98 + 2.02 + 12) / 4 / 20)


def test_missing_points_are_left_out_one_by_one() -> None:
    partial = POINTS.copy()
    partial[4] = np.nan
    report = score_landmarks(matched([labels(partial)], [found(shifted((4, 100, 0), (2, 4, 0)))]))
    assert report.nme_eyes == pytest.approx(4 / 4 / 20)
    assert report.points_eyes["right_mouth"] is None


def test_without_both_eyes_only_the_box_measures() -> None:
    profile = POINTS.copy()
    profile[1] = np.nan
    report = score_landmarks(matched([labels(profile)], [found(shifted((2, 4, 0)))]))
    assert report.nme_eyes is None
    assert report.failure_rate is None
    assert report.nme_box == pytest.approx(1 / 40)


def test_only_found_faces_with_landmarks_that_are_not_ignored_are_measured() -> None:
    elsewhere = found(box=(100, 100, 140, 140))
    no_points = found(np.full((5, 2), np.nan, np.float32))
    for labelled, detection, num_faces in (
        (labels(), elsewhere, 1),
        (labels(), no_points, 1),
        (labels(ignore=True), found(), 0),
        (labels(None), found(), 0),
    ):
        report = score_landmarks(matched([labelled], [detection]))
        assert (report.num_faces, report.num_matched, report.nme_box) == (num_faces, 0, None)
    assert score_landmarks(matched([], [])).nme_eyes is None
