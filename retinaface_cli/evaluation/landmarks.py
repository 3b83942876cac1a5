"""How far the five points lie from the true ones: normalised mean error (NME) on the faces that were found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retinaface_cli.evaluation.matching import FaceMatches, FloatValues, Indices
from retinaface_cli.faces import LANDMARK_NAMES, NUM_LANDMARKS, BoolArray

FAILURE_ERROR = 0.1
"""A face whose mean error is above this part of its inter-ocular distance has failed, as in the 300-W challenge."""


@dataclass(frozen=True, eq=False)
class LandmarkErrors:
    """Distances of points on matched faces, each to be divided by a size of its face.

    Attributes:
        faces: (M,) index of the labelled face among all of the data set.
        distances: (M, 5) from the detected to the true point in pixels; NaN where either is missing.
        eye_distances: (M,) between the true eyes in pixels; NaN where they are not both known, or coincide.
        box_sizes: (M,) square root of the true box's area in pixels; NaN for boxes without area.
    """

    faces: Indices
    distances: FloatValues
    eye_distances: FloatValues
    box_sizes: FloatValues

    def face_errors(self) -> FloatValues:
        """(M,) mean distance of each face's points as a part of its box size; NaN where unknown."""
        return _mean_of_known(self.distances / self.box_sizes[:, None], axis=1)


@dataclass(frozen=True, eq=False)
class LandmarkReport:
    """Errors of the points; None where no face allows the figure.

    Attributes:
        nme_eyes: mean error as a part of the distance between the true eyes.
        nme_box: mean error as a part of the square root of the true box's area.
        median_eyes: median over the faces of the error relative to the eyes, which profiles cannot blow up.
        failure_rate: share of the faces whose error relative to the eyes is above FAILURE_ERROR.
        points_eyes: point name -> mean error relative to the eyes.
        points_box: point name -> mean error relative to the box.
        num_faces: labelled faces that have a landmark and are not ignored.
        num_matched: those of them that were found with landmarks.
    """

    nme_eyes: float | None
    nme_box: float | None
    median_eyes: float | None
    failure_rate: float | None
    points_eyes: Mapping[str, float | None]
    points_box: Mapping[str, float | None]
    num_faces: int
    num_matched: int


def score_landmarks(matches: FaceMatches) -> LandmarkReport:
    """NME on the faces that were found (matched at an IoU of .5, whatever the score) and have landmarks."""
    errors = landmark_errors(matches)
    by_eyes = errors.distances / errors.eye_distances[:, None]
    by_box = errors.distances / errors.box_sizes[:, None]
    faces_by_eyes = _mean_of_known(by_eyes, axis=1)
    known = faces_by_eyes[np.isfinite(faces_by_eyes)]
    return LandmarkReport(
        nme_eyes=_number(known.mean() if len(known) else np.nan),
        nme_box=_number(_mean_of_known(errors.face_errors()[None], axis=1)[0]),
        median_eyes=_number(np.median(known) if len(known) else np.nan),
        failure_rate=_number((known > FAILURE_ERROR).mean() if len(known) else np.nan),
        points_eyes=_by_point(by_eyes),
        points_box=_by_point(by_box),
        num_faces=int(labelled_faces(matches).sum()),
        num_matched=len(errors.faces),
    )


def labelled_faces(matches: FaceMatches) -> BoolArray:
    """(F,) faces that are not ignored and have at least one landmark."""
    has_any: BoolArray = np.count_nonzero(matches.faces.has_landmarks, axis=1) > 0
    return has_any & ~matches.faces.ignore


def landmark_errors(matches: FaceMatches) -> LandmarkErrors:
    """Distances on the labelled faces that were found by a detection with landmarks."""
    is_true, _ = matches.judge(labelled_faces(matches))
    has_points = np.isfinite(matches.detections.landmarks).reshape(-1, NUM_LANDMARKS * 2).any(axis=1)
    found = np.flatnonzero(is_true & has_points)
    faces = matches.matched[found]
    true_points = np.where(
        matches.faces.has_landmarks[faces][..., None], matches.faces.landmarks[faces], np.nan
    ).astype(np.float64)  # (M, 5, 2)
    boxes = matches.faces.boxes[faces].astype(np.float64)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return LandmarkErrors(
        faces=faces,
        distances=np.linalg.norm(matches.detections.landmarks[found] - true_points, axis=2),
        eye_distances=_positive(np.linalg.norm(true_points[:, 1] - true_points[:, 0], axis=1)),
        box_sizes=_positive(np.sqrt(sides[:, 0] * sides[:, 1])),
    )


def _positive(values: FloatValues) -> FloatValues:
    """The values with NaN in place of zeros."""
    return np.where(values > 0, values, np.nan)


def _mean_of_known(values: FloatValues, *, axis: int) -> FloatValues:
    """Mean along an axis over what is not NaN; NaN where nothing is known."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    mean: FloatValues = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _by_point(errors: FloatValues) -> dict[str, float | None]:
    means = _mean_of_known(errors, axis=0)
    return {name: _number(value) for name, value in zip(LANDMARK_NAMES, means, strict=True)}


def _number(value: np.floating | float) -> float | None:
    return float(value) if np.isfinite(value) else None
