"""Average precision as in PASCAL VOC from 2010 on: the area under the precision envelope, and AP50 on faces.

AP50 is the validation metric of the legacy training code: a face is found at an IoU of at least .5, each detection is
judged against the face it overlaps most with, all images count alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retinaface_cli.evaluation.matching import FaceMatches, FloatValues, Indices
from retinaface_cli.faces import BoolArray

LEGACY_SCORE_THRESHOLD = float(np.float32(0.1))
"""The legacy training code measures detections that score above this, which cuts the recall."""


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall for falling score thresholds.

    Attributes:
        scores: (T,) thresholds: detections with at least this score are taken.
        precision: (T,) share of the counted detections that are right; 0 where there are none.
        recall: (T,) share of the counted faces that are found.
    """

    scores: FloatValues
    precision: FloatValues
    recall: FloatValues

    @property
    def average_precision(self) -> float:
        """Area under the envelope of the curve, in [0, 1]."""
        recall = np.concatenate([[0.0], self.recall, [1.0]])
        precision = np.concatenate([[0.0], self.precision, [0.0]])
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum((recall[1:] - recall[:-1]) * envelope[1:]))

    @property
    def final_recall(self) -> float:
        """Recall at the lowest score; 0 where there is none."""
        return float(self.recall[-1]) if len(self.recall) else 0.0

    def best_f1(self) -> tuple[float, float]:
        """Highest harmonic mean of precision and recall, and the score threshold where it is reached; 0, 0 if none."""
        total = self.precision + self.recall
        f1 = np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)
        if len(f1) == 0 or f1.max() == 0:
            return 0.0, 0.0
        return float(f1.max()), float(self.scores[f1.argmax()])


@dataclass(frozen=True, eq=False)
class AveragePrecisionReport:
    """AP50 of a data set.

    Attributes:
        ap: average precision in [0, 1].
        ap_legacy: the same of the detections that score above .1 alone, as the legacy training code reported it.
        recall: share of the counted faces that are found at the lowest score.
        best_f1: highest harmonic mean of precision and recall.
        best_f1_score: score threshold that gives best_f1.
        num_faces: faces that count.
        curve: precision and recall.
    """

    ap: float
    ap_legacy: float
    recall: float
    best_f1: float
    best_f1_score: float
    num_faces: int
    curve: PrecisionRecallCurve


def score_ap50(matches: FaceMatches) -> AveragePrecisionReport:
    """AP50 over all faces that are not ignored, of detections matched at an IoU of .5 without a border."""
    counted = ~matches.faces.ignore
    curve = precision_recall(matches, counted)
    best_f1, best_f1_score = curve.best_f1()
    return AveragePrecisionReport(
        ap=curve.average_precision,
        ap_legacy=precision_recall(matches, counted, score_threshold=LEGACY_SCORE_THRESHOLD).average_precision,
        recall=curve.final_recall,
        best_f1=best_f1,
        best_f1_score=best_f1_score,
        num_faces=int(counted.sum()),
        curve=curve,
    )


def precision_recall(
    matches: FaceMatches, counted: BoolArray, *, score_threshold: float = -1.0, among: Indices | None = None
) -> PrecisionRecallCurve:
    """Precision and recall at every distinct score of the counted detections.

    Args:
        matches: the detections of the data set.
        counted: (F,) the faces to be found.
        score_threshold: only detections that score above this are taken.
        among: indices of the detections that are taken, by falling score; None: all.
    """
    among = matches.falling if among is None else among
    is_true, is_counted = matches.judge(counted, among=among)
    scores = matches.scores[among]
    kept = is_counted & (scores > score_threshold)
    falling = scores[kept]
    num_true = np.cumsum(is_true[kept])
    last = np.flatnonzero(np.append(falling[1:] < falling[:-1], True)[: len(falling)])  # the last of each run of equals
    return PrecisionRecallCurve(
        scores=falling[last], precision=num_true[last] / (last + 1), recall=num_true[last] / max(int(counted.sum()), 1)
    )
