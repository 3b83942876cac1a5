"""Faces drawn at random from a fixed seed, as labels and as predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import savemat

from tests.formats.label_samples import POINT_NAMES, cells

WIDTH, HEIGHT = 320, 240
POINT_PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
"""Of the five points, as parts of a box."""

Entries = list[dict[str, Any]]
"""Images with their faces, as the own JSON format has them."""


def make_face(box: Sequence[float], random: np.random.Generator) -> dict[str, Any]:
    """A face with points near their usual places."""
    corners = np.array(box)
    points = corners[:2] + POINT_PLACES * (corners[2:] - corners[:2]) + random.normal(0, 0.5, (5, 2))
    return {"bbox": corners.round(2).tolist(), "landmarks": points.round(2).tolist()}


def random_box(random: np.random.Generator) -> npt.NDArray[np.float64]:
    left, top = random.uniform(0, 220), random.uniform(0, 140)
    corners = [left, top, left + random.uniform(12, 90), top + random.uniform(12, 90)]
    return np.array([round(value) for value in corners], np.float64)


def make_labels(num_images: int = 10) -> Entries:
    """Up to five faces an image: every fifth is ignored, and every fourth has no landmarks."""
    random = np.random.default_rng(7)
    entries: Entries = []
    for number in range(num_images):
        faces = [make_face(random_box(random).tolist(), random) for _ in range(number % 6)]
        for index, face in enumerate(faces):
            face["landmarks"] = face["landmarks"] if (number + index) % 4 else []
            face["ignore"] = (number + index) % 5 == 0
        name = f"{number // 5}--Event/{number}.png"
        entries.append({"file_name": name, "width": WIDTH, "height": HEIGHT, "annotations": faces})
    return entries


def make_predictions(labels: Entries, *, seed: int = 1, shift: float = 3.0) -> Entries:
    """Most faces found not quite in their places, some missed, and some where there is none."""
    random = np.random.default_rng(seed)
    entries: Entries = []
    for image in labels:
        boxes = [np.array(face["bbox"]) + random.normal(0, shift, 4) for face in image["annotations"]]
        boxes = [box for box in boxes if random.random() > 0.15] + [random_box(random)]
        faces = [{**make_face(box.tolist(), random), "score": round(random.uniform(0.05, 1), 4)} for box in boxes]
        entries.append({**image, "annotations": sorted(faces, key=lambda face: -float(face["score"]))})
    return entries


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def to_coco(labels: Entries) -> dict[str, Any]:
    """The same labels as COCO has them."""
    annotations: Entries = []
    for number, image in enumerate(labels, 1):
        for face in image["annotations"]:
            left, top, right, bottom = face["bbox"]
            sides = [right - left, bottom - top]
            points = [value for point in face["landmarks"] for value in (*point, 2)]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": [left, top, *sides]}
            entry |= {"area": sides[0] * sides[1], "iscrowd": int(face["ignore"])}
            annotations.append({**entry, **({"keypoints": points} if points else {})})
    images = [
        {"id": number, "file_name": image["file_name"], "width": WIDTH, "height": HEIGHT}
        for number, image in enumerate(labels, 1)
    ]
    category = {"id": 1, "name": "face", "keypoints": POINT_NAMES}
    return {"images": images, "categories": [category], "annotations": annotations}


def write_ground_truth(folder: Path, labels: Entries) -> Path:
    """The four .mat files of WIDER FACE: easy faces are the large ones, hard ones all that are not ignored."""
    folder.mkdir()
    events: dict[str, Entries] = {}
    for image in labels:
        events.setdefault(image["file_name"].split("/")[0], []).append(image)

    def per_image(values: Sequence[Sequence[Any]]) -> npt.NDArray[np.object_]:
        return cells([cells(row) for row in values])

    def boxes(image: dict[str, Any]) -> npt.NDArray[np.float64]:
        corners = np.array([face["bbox"] for face in image["annotations"]]).reshape(-1, 4)
        return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)

    def counted(image: dict[str, Any], side: float) -> npt.NDArray[np.uint8]:
        is_counted = [
            not face["ignore"] and height >= side
            for face, height in zip(image["annotations"], boxes(image)[:, 3], strict=True)
        ]
        return (np.flatnonzero(is_counted) + 1).astype(np.uint8).reshape(-1, 1)

    images = list(events.values())
    common = {
        "event_list": cells(list(events)),
        "file_list": per_image([[Path(image["file_name"]).stem for image in row] for row in images]),
        "face_bbx_list": per_image([[boxes(image).astype(np.int32) for image in row] for row in images]),
    }
    zeros = per_image([[np.zeros((len(boxes(image)), 1), np.uint8) for image in row] for row in images])
    names = ("blur", "expression", "illumination", "occlusion", "pose", "invalid")
    savemat(folder / "wider_face_val.mat", {**common, **{f"{name}_label_list": zeros for name in names}})
    for level, side in {"easy": 50, "medium": 30, "hard": 0}.items():
        lists = per_image([[counted(image, side) for image in row] for row in images])
        savemat(folder / f"wider_{level}_val.mat", {**common, "gt_list": lists})
    return folder
