"""All scores of one set of predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from retinaface_cli.commands.evaluate.predictions import Candidate, make_candidate
from retinaface_cli.commands.evaluate.process import SideTask
from retinaface_cli.commands.evaluate.truth import GroundTruth, read_truth
from retinaface_cli.errors import SettingsError
from retinaface_cli.evaluation.average_precision import AveragePrecisionReport, score_ap50
from retinaface_cli.evaluation.breakdown import GroupResult, evaluate_groups
from retinaface_cli.evaluation.coco import CocoReport, evaluate_coco
from retinaface_cli.evaluation.landmarks import LandmarkReport, landmark_errors, score_landmarks
from retinaface_cli.evaluation.matching import FaceMatches, find_near_faces
from retinaface_cli.evaluation.wider_face import IOU_THRESHOLD, PIXEL_BORDER, WiderFaceReport, score_wider_face
from retinaface_cli.formats import FaceTable, read_predictions
from retinaface_cli.settings.evaluation import Protocol

ALL_PROTOCOLS: tuple[Protocol, ...] = ("wider", "coco", "ap50", "landmarks")


@dataclass(frozen=True, eq=False)
class Scores:
    """Results of one candidate; None for protocols that were not asked for.

    Attributes:
        candidate: what was scored.
        wider: WIDER FACE AP.
        coco: COCO AP.
        ap50: AP at an IoU of .5; it is always computed.
        has_ap50: whether it was asked for.
        landmarks: errors of the five points.
        groups: AP50, recall and landmark error of parts of the faces.
        matches: detections and the faces they are matched to, at an IoU of .5.
    """

    candidate: Candidate
    wider: WiderFaceReport | None
    coco: CocoReport | None
    ap50: AveragePrecisionReport
    has_ap50: bool
    landmarks: LandmarkReport | None
    groups: tuple[GroupResult, ...]
    matches: FaceMatches


@dataclass(frozen=True)
class ImageMistakes:
    """Mistakes in one image at the score threshold of the best F1.

    Attributes:
        file_name: of the image.
        num_missed: faces that count and were not found.
        num_false: detections on no face, or on one that was found already.
    """

    file_name: str
    num_missed: int
    num_false: int


def choose_protocols(asked: Sequence[Protocol], truth: GroundTruth) -> tuple[Protocol, ...]:
    """The protocols to compute: those asked for, or those that suit the labels.

    WIDER FACE's ground truth has its own protocol, so COCO's, which takes longest, must be asked for there.

    Raises:
        SettingsError: landmarks are asked for and the labels have none.
    """
    if asked:
        if "landmarks" in asked and not truth.has_landmarks:
            raise SettingsError(f"protocol landmarks: {truth.name} has no landmarks; leave it out or name other labels")
        return tuple(name for name in ALL_PROTOCOLS if name in asked)
    unsuited = {"coco"} if truth.has_difficulties else set()
    if not truth.has_landmarks:
        unsuited.add("landmarks")
    return tuple(name for name in ALL_PROTOCOLS if name not in unsuited)


def start_scores(
    candidate: Candidate, truth: GroundTruth, *, protocols: Sequence[Protocol], coco_max_detections: int
) -> tuple[Scores, Callable[[], Scores]]:
    """Computes the protocols for one candidate, COCO's figures and the groups in processes beside this one.

    Returns:
        The scores without these two, and what waits for them and gives all.
    """
    coco = None
    if "coco" in protocols:
        coco = SideTask(partial(evaluate_coco, truth.faces, candidate.faces, max_detections=coco_max_detections))
    near = find_near_faces(truth.faces, candidate.faces, iou_threshold=IOU_THRESHOLD)
    matches = near.match()
    has_landmarks = "landmarks" in protocols
    groups = SideTask(partial(evaluate_groups, matches, landmark_errors(matches) if has_landmarks else None))
    wider = None
    if "wider" in protocols:
        wider = score_wider_face(near.match(border=PIXEL_BORDER), subsets=truth.subsets)
    ready = Scores(
        candidate=candidate,
        wider=wider,
        coco=None,
        ap50=score_ap50(matches),
        has_ap50="ap50" in protocols,
        landmarks=score_landmarks(matches) if has_landmarks else None,
        groups=(),
        matches=matches,
    )
    return ready, lambda: replace(ready, groups=groups.result(), coco=None if coco is None else coco.result())


def evaluate_wider(predictions: str | Path | FaceTable, labels: str | Path) -> WiderFaceReport:
    """AP by WIDER FACE's protocol, for Python programs.

    What may be wrong with labels or predictions is a UserWarning.

    Args:
        predictions: any that `retinaface evaluate --predictions` reads, or a table with scores.
        labels: WIDER FACE's ground_truth folder, which gives easy, medium and hard, or any labels, which give all.

    Raises:
        LabelFormatError: either cannot be understood, or they have no image in common.
    """
    truth = read_truth(Path(labels))
    table = predictions if isinstance(predictions, FaceTable) else read_predictions(predictions)
    name = "predictions" if table is predictions else str(predictions)
    candidate = make_candidate(table, truth, name=name, run={})
    for note in (*truth.notes, *candidate.notes):
        warnings.warn(note, stacklevel=2)
    matches = find_near_faces(truth.faces, candidate.faces, iou_threshold=IOU_THRESHOLD).match(border=PIXEL_BORDER)
    return score_wider_face(matches, subsets=truth.subsets)


def find_worst(scores: Scores, count: int) -> list[ImageMistakes]:
    """The images with most missed faces and false detections, at the score that gives the best F1."""
    matches = scores.matches
    counted = ~matches.faces.ignore
    is_true, is_counted = matches.judge(counted)
    is_shown = matches.scores >= scores.ap50.best_f1_score
    num_images = len(matches.file_names)
    num_false = np.bincount(matches.detection_images[is_shown & is_counted & ~is_true], minlength=num_images)
    num_found = np.bincount(matches.detection_images[is_shown & is_true], minlength=num_images)
    num_missed = np.bincount(matches.face_images[counted], minlength=num_images) - num_found
    order = np.argsort(-(num_missed + num_false), kind="stable")[:count]
    return [ImageMistakes(matches.file_names[i], int(num_missed[i]), int(num_false[i])) for i in order.tolist()]
