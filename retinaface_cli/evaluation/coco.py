"""COCO average precision of boxes, computed by faster-coco-eval, which gives the figures of pycocotools."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retinaface_cli.faces import FaceDetections, ImageDetections, ImageLabels

MAX_DETECTIONS = 100
"""COCO looks at so many detections of an image, the best by score."""


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
        max_detections: detections of an image that were looked at.
        num_faces: faces that are not ignored.
        num_crowded: images with more faces than detections that are looked at.
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


def evaluate_coco(
    labels: Sequence[ImageLabels], detections: Sequence[ImageDetections], *, max_detections: int = MAX_DETECTIONS
) -> CocoReport:
    """COCO's figures; ignored faces are treated as COCO's crowd regions, sizes are those of the true boxes.

    Args:
        labels: the images to be measured on.
        detections: at most one entry an image, each of a labelled image.
        max_detections: detections of an image that are looked at; 100 is the rule.
    """
    evaluation = _run(labels, detections, max_detections)
    precision, recall = evaluation["precision"], evaluation["recall"]  # (10, 101, 1, 4, 1), (10, 1, 4, 1)
    num_counted = [int((~image.faces.ignore).sum()) for image in labels]
    return CocoReport(
        ap=_mean(precision[:, :, :, 0]),
        ap50=_mean(precision[0, :, :, 0]),
        ap75=_mean(precision[5, :, :, 0]),
        ap_small=_mean(precision[:, :, :, 1]),
        ap_medium=_mean(precision[:, :, :, 2]),
        ap_large=_mean(precision[:, :, :, 3]),
        ar=_mean(recall[:, :, 0]),
        max_detections=max_detections,
        num_faces=sum(num_counted),
        num_crowded=sum(count > max_detections for count in num_counted),
    )


def _run(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections], max_detections: int) -> dict[str, Any]:
    """Feeds the evaluator and returns its arrays of precision and recall."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries it imports
        from faster_coco_eval import COCO, COCOeval_faster
    was_collecting = gc.isenabled()
    gc.disable()  # half a million dictionaries that all live to the end: looking through them costs a second
    try:
        truth, found = _datasets(labels, detections, max_detections)
        evaluator = COCOeval_faster(COCO(truth), COCO(found), "bbox", separate_eval=True)
        evaluator.params.maxDets = [max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    finally:
        if was_collecting:
            gc.enable()
    result: dict[str, Any] = evaluator.eval
    return result


def _datasets(
    labels: Sequence[ImageLabels], detections: Sequence[ImageDetections], max_detections: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Labels and detections as COCO data sets."""
    ids = {image.file_name: number for number, image in enumerate(labels, start=1)}
    truth = [
        _annotation(ids[image.file_name], box, area, iscrowd=int(ignored))
        for image in labels
        for box, area, ignored in zip(*_boxes_xywh(image.faces.boxes), image.faces.ignore.tolist(), strict=True)
    ]
    found = [
        _annotation(ids[image.file_name], box, area, iscrowd=0) | {"score": score}
        for image in detections
        for box, area, score in _best(image.faces, max_detections)
    ]
    return _dataset(ids, truth), _dataset(ids, found)


def _best(faces: FaceDetections, max_detections: int) -> list[tuple[list[float], float, float]]:
    """Box (x, y, width, height), area and score of the best detections."""
    order = np.argsort(-faces.scores, kind="stable")[:max_detections]
    boxes, areas = _boxes_xywh(faces.boxes[order])
    return list(zip(boxes, areas, faces.scores[order].astype(np.float64).tolist(), strict=True))


def _boxes_xywh(boxes: np.ndarray[Any, np.dtype[np.float32]]) -> tuple[list[list[float]], list[float]]:
    """Boxes as x, y, width, height, and their areas."""
    boxes_xywh = boxes.astype(np.float64)
    boxes_xywh[:, 2:] -= boxes_xywh[:, :2]
    return boxes_xywh.tolist(), (boxes_xywh[:, 2] * boxes_xywh[:, 3]).tolist()


def _annotation(image_id: int, box: list[float], area: float, *, iscrowd: int) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": 1, "bbox": box, "area": area, "iscrowd": iscrowd}


def _dataset(ids: dict[str, int], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """A data set of one category; annotations are numbered from 1."""
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return {
        "images": [{"id": number, "file_name": name} for name, number in ids.items()],
        "categories": [{"id": 1, "name": "face"}],
        "annotations": annotations,
    }


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Mean of what is defined: the evaluator marks sizes without faces by -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
