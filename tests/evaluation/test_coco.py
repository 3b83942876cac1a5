"""COCO figures against pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from retinaface_cli.evaluation.coco import evaluate_coco
from retinaface_cli.faces import ImageDetections, ImageLabels
from tests.evaluation.images import detected, labelled, random_images, tables


def reference(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections]) -> dict[str, float]:
    """The figures that pycocotools prints for the same faces."""
    truth = COCO()
    truth.dataset = {"images": [], "categories": [{"id": 1, "name": "face"}], "annotations": []}
    ids = {image.file_name: number for number, image in enumerate(labels, start=1)}
    for image in labels:
        truth.dataset["images"].append({"id": ids[image.file_name]})
        for box, ignored in zip(image.faces.boxes.tolist(), image.faces.ignore.tolist(), strict=True):
            face = coco_face(ids[image.file_name], box) | {"iscrowd": int(ignored)}
            truth.dataset["annotations"].append(face | {"id": len(truth.dataset["annotations"]) + 1})
    results = [
        coco_face(ids[image.file_name], box) | {"score": score}
        for image in detections
        for box, score in zip(image.faces.boxes.tolist(), image.faces.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar_1", "ar_10", "ar")
    return dict(zip(names, evaluation.stats.tolist(), strict=False))


def coco_face(image_id: int, box: Sequence[float]) -> dict[str, Any]:
    x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    return {"image_id": image_id, "category_id": 1, "bbox": [x, y, width, height], "area": width * height}


@pytest.mark.parametrize(("seed", "max_detections"), [(0, 40), (1, 40), (2, 260)])
def test_figures_equal_those_of_pycocotools(seed: int, max_detections: int) -> None:
    labels, detections = random_images(seed, max_detections=max_detections)
    report, expected = evaluate_coco(*tables(labels, detections)), reference(labels, detections)
    for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ar"):
        assert getattr(report, name) == pytest.approx(expected[name], abs=1e-12), name
    assert expected["ap_large"] == -1
    assert report.ap_large is None


def test_one_box_half_a_pixel_off_is_right_up_to_its_overlap() -> None:
    # 10 x 8 of 10 x 10: IoU .8, so right at .50 ... .80: seven of ten thresholds
    report = evaluate_coco(*tables([labelled((0, 0, 10, 10))], [detected((0.9, (0, 0, 10, 8)))]))
    assert report.ap == pytest.approx(0.7)
    assert (report.ap50, report.ap75, report.ap_small) == (1.0, 1.0, report.ap)
    assert (report.ap_medium, report.ap_large, report.num_faces, report.num_crowded) == (None, None, 1, 0)


def test_more_faces_than_detections_looked_at_are_reported() -> None:
    boxes = [(20.0 * i, 0.0, 20.0 * i + 10, 10.0) for i in range(3)]
    report = evaluate_coco(*tables([labelled(*boxes)], [detected(*((0.9, box) for box in boxes))]), max_detections=2)
    assert report.num_crowded == 1
    assert report.ar == pytest.approx(2 / 3)


def test_without_detections_or_faces() -> None:
    nothing_found = evaluate_coco(*tables([labelled((0, 0, 10, 10))], []))
    assert (nothing_found.ap, nothing_found.num_faces) == (0.0, 1)
    nothing_there = evaluate_coco(*tables([labelled()], [detected((0.9, (0, 0, 10, 10)))]))
    assert (nothing_there.ap, nothing_there.num_faces) == (None, 0)
