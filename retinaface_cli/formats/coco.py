"""COCO labels: instances and keypoints in one JSON file with `images`, `annotations` and `categories`.

Boxes are `[x, y, width, height]`; keypoints are `[x, y, v] * K` with v 0 missing, 1 occluded, 2 visible. The five
landmarks are found by the names of the category's keypoints, or by their order where there are five.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes, landmark_positions
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS, FaceTable
from retinaface_cli.formats.findings import FindingCounter
from retinaface_cli.formats.json_text import read_json
from retinaface_cli.formats.label_reader import FaceRecord, Glimpse, ImageRecord, Point, ReadingOptions, build_table
from retinaface_cli.formats.values import as_float, as_floats, as_name, as_size, shorten

IMAGE_SIDES = "left and right as seen in the image"
"""What our own COCO files say under info.landmarks, so that nobody has to guess."""


@dataclass(frozen=True)
class _Category:
    """A category that is faces: landmark -> position of its keypoint, and the number of keypoints."""

    positions: Mapping[int, int]
    num_keypoints: int


def recognizes_coco(glimpse: Glimpse) -> bool:
    """A JSON object with the keys of COCO."""
    head = glimpse.head
    keys = (b'"images"', b'"annotations"', b'"categories"', b'"info"', b'"licenses"')
    is_image = head[1:].lstrip().startswith(b'"file_name"')
    return head.startswith(b"{") and any(key in head for key in keys) and not is_image


def read_coco(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads COCO instances or keypoints.

    Raises:
        LabelFormatError: with the place.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise LabelFormatError(f"{path}: expected an object with images and annotations, got {shorten(content)}")
    images = _objects(content, "images", path)
    categories = _read_categories(content, options, path)
    counter = FindingCounter()
    faces: dict[object, list[FaceRecord]] = {}
    for i, image in enumerate(images):
        faces[_identity(image, "id", f"{path}: images[{i}]")] = []
    if len(faces) < len(images):
        raise LabelFormatError(f"{path}: images: expected distinct ids, got {len(images) - len(faces)} twice")
    for i, annotation in enumerate(_objects(content, "annotations", path)):
        place = f"{path}: annotations[{i}]"
        category = categories.get(_identity(annotation, "category_id", place)) if categories else None
        image_id = _identity(annotation, "image_id", place)
        if categories and category is None:
            counter.add("annotation of another class, left out", "dropped", place)
        elif image_id not in faces:
            counter.add("annotation of an image that is not listed, left out", "dropped", place)
        else:
            faces[image_id].append(_read_face(annotation, category, place, counter))
    images_found = [
        ImageRecord(
            as_name(image.get("file_name"), f"{path}: images[{i}]"),
            path,
            faces[image["id"]],
            as_size(image.get("height"), image.get("width"), f"{path}: images[{i}]"),
        )
        for i, image in enumerate(images)
    ]
    info = content.get("info")
    is_ours = isinstance(info, dict) and info.get("landmarks") == IMAGE_SIDES
    return build_table(
        images_found, format_name="coco", boxes_are_corners=False, is_order_known=is_ours, findings=counter.findings
    )


def _objects(content: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """A list of objects under a key."""
    values = content.get(key)
    if not isinstance(values, list):
        raise LabelFormatError(f"{path}: {key}: expected a list, got {shorten(values)}")
    for i, value in enumerate(values):
        if not isinstance(value, dict):
            raise LabelFormatError(f"{path}: {key}[{i}]: expected an object, got {shorten(value)}")
    return values


def _identity(entry: Mapping[str, Any], key: str, place: str) -> object:
    """An id, which most files write as a number and some as text."""
    value = entry.get(key)
    if not isinstance(value, (int, str)):
        raise LabelFormatError(f"{place}: {key}: expected a number, got {shorten(value)}")
    return value


def _read_categories(content: Mapping[str, Any], options: ReadingOptions, path: Path) -> dict[object, _Category]:
    """Category id -> how to read faces of it; empty where the file has no categories."""
    categories = _objects(content, "categories", path) if content.get("categories") else []
    names = [str(category.get("name")) for category in categories]
    chosen = choose_face_classes(names, options.classes, f"{path}: categories")
    result: dict[object, _Category] = {}
    for i, (category, name) in enumerate(zip(categories, names, strict=True)):
        if name in chosen:
            identity = _identity(category, "id", f"{path}: categories[{i}]")
            result[identity] = _read_category(category.get("keypoints") or [], f"{path}: categories[{i}].keypoints")
    return result


def _read_category(names: object, place: str) -> _Category:
    """Finds the five landmarks among the names of the keypoints."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelFormatError(f"{place}: expected a list of names, got {shorten(names)}")
    positions = landmark_positions(names)
    if len(names) == NUM_LANDMARKS and len(positions) < NUM_LANDMARKS:
        positions = {i: i for i in range(NUM_LANDMARKS)}
    return _Category(positions, len(names))


def _read_face(
    annotation: Mapping[str, Any], category: _Category | None, place: str, counter: FindingCounter
) -> FaceRecord:
    """One annotation."""
    x, y, width, height = as_floats(annotation.get("bbox"), 4, place, what="4 box numbers")
    keypoints = annotation.get("keypoints") or []
    points: Sequence[Point | None] = ()
    attributes = _read_attributes(annotation.get("attributes"), place, counter)
    if keypoints:
        num_keypoints = category.num_keypoints if category and category.num_keypoints else NUM_LANDMARKS
        positions = category.positions if category and category.num_keypoints else {i: i for i in range(NUM_LANDMARKS)}
        values = as_floats(keypoints, 3 * num_keypoints, place, what=f"{3 * num_keypoints} keypoint numbers")
        points, occluded = _read_points(values, positions)
        if any(points):
            attributes[OCCLUDED_LANDMARKS] = occluded
    marks = [annotation.get(key) for key in ("iscrowd", "ignore")]
    if any(mark not in (None, 0, 1) for mark in marks):
        raise LabelFormatError(f"{place}: iscrowd and ignore: expected 0 or 1, got {shorten(marks)}")
    return FaceRecord((x, y, x + width, y + height), points, ignore=any(marks), attributes=attributes)


def _read_points(values: Sequence[float], positions: Mapping[int, int]) -> tuple[list[Point | None], int]:
    """Five points, and the sum of the bits of those that are occluded."""
    points: list[Point | None] = [None] * NUM_LANDMARKS
    occluded = 0
    for landmark, position in positions.items():
        x, y, visibility = values[3 * position : 3 * position + 3]
        if visibility > 0:
            points[landmark] = x, y
            occluded += 2**landmark if visibility == 1 else 0
    return points, occluded


def _read_attributes(given: object, place: str, counter: FindingCounter) -> dict[str, float]:
    """Further numbers of a face; what is no number is counted and left out."""
    if not isinstance(given, dict):
        return {}
    result = {}
    for name, value in given.items():
        if isinstance(value, (bool, int, float)):
            result[name] = as_float(
                float(value) if isinstance(value, bool) else value, place, what=f"a number ({name})"
            )
        else:
            counter.add(f"attribute {name} that is no number, left out", "dropped", place)
    return result
