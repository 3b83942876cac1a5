"""COCO average precision of boxes, computed by faster-coco-eval, which gives the figures of pycocotools."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from retinaface_cli.evaluation.matching import align_detections, scores_of
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.process import without_garbage_collection

MAX_DETECTIONS = 100
"""COCO takes so many detections of an image, the best by score."""


@dataclass(frozen=True)
class CocoReport:
    """The figures of COCO, in [0, 1]; None where no face has that size.

    Attributes:
        ap: mean average precision over the IoU thresholds .50, .55, ... .95.
        ap50: at .50.
        ap75: at .75.
        ap_small: of faces under 32 x 32 pixels.
        ap_medium: of faces between 32 x 32 and 96 x 96 pixels.
        ap_large: of faces above 96 x 96 pixels.
        ar: mean recall over the IoU thresholds.
        max_detections: detections of an image that were taken.
        num_faces: faces that are not ignored.
        num_crowded: images with more faces than detections that are taken.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar: float | None
    max_detections: int
    num_faces: int
    num_crowded: int


def evaluate_coco(labels: FaceTable, detections: FaceTable, *, max_detections: int = MAX_DETECTIONS) -> CocoReport:
    """COCO's figures; ignored faces are treated as COCO's crowd regions, sizes are those of the true boxes.

    Args:
        labels: the images to be measured on.
        detections: at most one entry an image, each of a labelled image.
        max_detections: detections of an image that are taken; 100 is the rule.
    """
    evaluation = _run(labels, align_detections(labels, detections), max_detections)
    precision, recall = evaluation["precision"], evaluation["recall"]  # (10, 101, 1, 4, 1), (10, 1, 4, 1)
    num_counted = np.bincount(labels.image_index[~labels.ignore], minlength=len(labels))
    return CocoReport(
        ap=_mean(precision[:, :, :, 0]),
        ap50=_mean(precision[0, :, :, 0]),
        ap75=_mean(precision[5, :, :, 0]),
        ap_small=_mean(precision[:, :, :, 1]),
        ap_medium=_mean(precision[:, :, :, 2]),
        ap_large=_mean(precision[:, :, :, 3]),
        ar=_mean(recall[:, :, 0]),
        max_detections=max_detections,
        num_faces=int(num_counted.sum()),
        num_crowded=int((num_counted > max_detections).sum()),
    )


def _run(labels: FaceTable, detections: FaceTable, max_detections: int) -> dict[str, Any]:
    """Feeds the evaluator and returns its arrays of precision and recall."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries it imports
        from faster_coco_eval import COCO, COCOeval_faster
    with without_garbage_collection():  # half a million dictionaries
        truth, found = _datasets(labels, detections, max_detections)
        evaluator = COCOeval_faster(COCO(truth), COCO(found), "bbox", separate_eval=True)
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    result: dict[str, Any] = evaluator.eval
    return result


def _datasets(labels: FaceTable, detections: FaceTable, max_detections: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and detections as COCO data sets; images and annotations are numbered from 1."""
    truth = _annotations(labels)
    for annotation, ignored in zip(truth, labels.ignore.tolist(), strict=True):
        annotation["iscrowd"] = int(ignored)
    ranks = np.arange(len(detections.boxes)) - np.repeat(detections.starts, detections.num_faces)
    best = detections.select_faces(ranks < max_detections)
    found = _annotations(best)
    for annotation, score in zip(found, scores_of(best).astype(np.float64).tolist(), strict=True):
        annotation["score"] = score
    images = [{"id": number, "file_name": name} for number, name in enumerate(labels.file_names, start=1)]
    shared = {"images": images, "categories": [{"id": 1, "name": "face"}]}
    return {**shared, "annotations": truth}, {**shared, "annotations": found}


def _annotations(table: FaceTable) -> list[dict[str, Any]]:
    """An annotation a face: number, image, box (x, y, width, height) and its area."""
    boxes_xywh = table.boxes.astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    areas = boxes_xywh[:, 2] * boxes_xywh[:, 3]
    rows = zip((table.image_index + 1).tolist(), boxes_xywh.tolist(), areas.tolist(), strict=True)
    return [
        {"id": number, "image_id": image, "category_id": 1, "bbox": box, "area": area, "iscrowd": 0}
        for number, (image, box, area) in enumerate(rows, start=1)
    ]


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Mean of what is defined: the evaluator marks sizes without faces by -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
