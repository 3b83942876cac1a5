"""The WIDER FACE protocol, equal to the official tool (evaluation.m and its Python port).

Scores are rescaled with one minimum and maximum over the data set; overlaps are taken with one pixel added to widths
and heights; a detection is judged against the face it overlaps most with, and does not count where that face does not;
precision and recall are taken at the 1000 scores 1 - (t + 1) / 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retinaface_cli.evaluation.average_precision import PrecisionRecallCurve
from retinaface_cli.evaluation.matching import FaceMatches, FloatValues, Indices, match_faces
from retinaface_cli.faces import BoolArray
from retinaface_cli.formats.table import FaceTable

NUM_THRESHOLDS = 1000
IOU_THRESHOLD = 0.5
PIXEL_BORDER = 1.0
"""Constants of the official tool; the last is added to widths and heights, as for boxes of whole pixels."""


@dataclass(frozen=True, eq=False)
class WiderSubset:
    """Result on the faces of one subset (easy, medium, hard, or all).

    Attributes:
        ap: average precision in [0, 1].
        recall: share of the faces that are found at the lowest score.
        num_faces: faces that count.
        curve: precision and recall at the 1000 thresholds.
    """

    ap: float
    recall: float
    num_faces: int
    curve: PrecisionRecallCurve


@dataclass(frozen=True, eq=False)
class WiderFaceReport:
    """Results by the name of the subset."""

    subsets: Mapping[str, WiderSubset]


def evaluate_wider_face(
    labels: FaceTable, detections: FaceTable, *, subsets: Mapping[str, BoolArray]
) -> WiderFaceReport:
    """AP by the official protocol.

    Args:
        labels: the images to be measured on.
        detections: at most one entry an image; faces of images without one are missed.
        subsets: name -> (F,) the faces that count, the others being ignored.

    Raises:
        ValueError: an image appears twice, or detections name an image that the labels do not have.
    """
    matches = match_faces(labels, detections, iou_threshold=IOU_THRESHOLD, border=PIXEL_BORDER)
    return score_wider_face(matches, subsets=subsets)


def score_wider_face(matches: FaceMatches, *, subsets: Mapping[str, BoolArray]) -> WiderFaceReport:
    """The same for detections that are matched already, with IOU_THRESHOLD and PIXEL_BORDER."""
    thresholds = 1 - (np.arange(NUM_THRESHOLDS) + 1) / NUM_THRESHOLDS
    # The first threshold (they fall) that a detection reaches: it counts there and at all later ones.
    first = np.searchsorted(-thresholds, -_rescale(matches.scores), side="left")
    return WiderFaceReport({name: _score_subset(matches, counted, first) for name, counted in subsets.items()})


def _score_subset(matches: FaceMatches, counted: BoolArray, first: Indices) -> WiderSubset:
    """Result on one subset."""
    is_true, is_counted = matches.judge(counted)
    num_counted = np.cumsum(np.bincount(first[is_counted], minlength=NUM_THRESHOLDS))
    num_true = np.cumsum(np.bincount(first[is_true], minlength=NUM_THRESHOLDS))
    num_faces = int(counted.sum())
    curve = PrecisionRecallCurve(
        scores=1 - (np.arange(NUM_THRESHOLDS) + 1) / NUM_THRESHOLDS,
        precision=num_true / np.maximum(num_counted, 1),
        recall=num_true / max(num_faces, 1),
    )
    return WiderSubset(ap=curve.average_precision, recall=curve.final_recall, num_faces=num_faces, curve=curve)


def _rescale(scores: FloatValues) -> FloatValues:
    """Scores to [0, 1] by their minimum and maximum, which start at 1 and 0 as in the official tool."""
    low, high = np.append(scores, 1.0).min(), np.append(scores, 0.0).max()
    if high == low:
        return np.ones_like(scores)
    rescaled: FloatValues = (scores - low) / (high - low)
    return rescaled
