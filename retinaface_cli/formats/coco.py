"""COCO: labels (instances and keypoints with `images`, `annotations`, `categories`) and results of a detector.

Boxes are `[x, y, width, height]`; keypoints are `[x, y, v] * K` with v 0 missing, 1 occluded, 2 visible. The five
landmarks are found by the names of the category's keypoints, or by their order where it has five. Results are a list
of `{"image_id", "category_id", "bbox", "score", "keypoints"}`. COCO-WholeBody's `face_box` is taken where it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import LANDMARK_NAMES, NUM_LANDMARKS
from retinaface_cli.formats.class_names import as_class_name, choose_face_classes, landmark_positions
from retinaface_cli.formats.images import pair_names
from retinaface_cli.formats.reader import Face, Point, ReadingOptions, TableBuilder
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, FaceTable
from retinaface_cli.formats.text import (
    as_flag,
    as_float,
    as_floats,
    as_name,
    as_size,
    decimal_boxes_xywh,
    dump_json,
    json_list,
    landmark_columns,
    read_json,
    shorten,
    shortest_decimals,
)

_IMAGE_SIDES = "left and right as seen in the image"
"""What our own COCO files say under info.landmarks, so that nobody has to guess."""

_SKELETON = [[1, 2], [1, 3], [2, 3], [3, 4], [3, 5], [4, 5]]
_IN_ORDER = {i: i for i in range(NUM_LANDMARKS)}
_FACE_POINTS = 68
"""Points of COCO-WholeBody's `face_kpts`, in the order of 300-W."""

_Identity = int | str


class _Category(NamedTuple):
    """A category that is faces: landmark -> position of its keypoint, and the number of keypoints."""

    positions: Mapping[int, int]
    num_keypoints: int


def read_coco(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads COCO instances or keypoints."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise LabelFormatError(f"{path}: expected an object with images and annotations, got {shorten(content)}")
    builder = TableBuilder()
    images, annotations = _objects(content, "images", path), _objects(content, "annotations", path)
    is_whole_body = any("face_box" in annotation for annotation in annotations)
    if is_whole_body:
        builder.note("face_box of COCO-WholeBody taken for faces", "chosen", str(path))
    categories = None if is_whole_body else _read_categories(content, options, path, builder)
    ids = [_identity(image, "id", f"{path}: images[{i}]") for i, image in enumerate(images)]
    faces: dict[_Identity, list[tuple[Face, bool]]] = {identity: [] for identity in ids}
    if len(faces) < len(images):
        raise LabelFormatError(f"{path}: images: expected distinct ids, got {len(images) - len(faces)} twice")
    for i, annotation in enumerate(annotations):
        place = f"{path}: annotations[{i}]"
        group = faces.get(_identity(annotation, "image_id", place))
        if group is None:
            builder.note("annotation of an image that is not listed, left out", "dropped", place)
        elif is_whole_body:
            group += [(face, False) for face in _read_whole_body(annotation, place)]
        else:
            group += _read_face(annotation, categories, place, builder)
    for i, (image, identity, found) in enumerate(zip(images, ids, faces.values(), strict=True)):
        place = f"{path}: images[{i}]"
        size = as_size(image.get("height"), image.get("width"), place)
        builder.add_image(as_name(image.get("file_name"), place), path, size=size, image_id=identity)
        for face in _join_skeletons(found):
            builder.add_face(face)
    info = content.get("info")
    is_ours = isinstance(info, dict) and info.get("landmarks") == _IMAGE_SIDES
    return builder.build(
        boxes_are_corners=False, is_order_known=is_ours or is_whole_body, category_ids=tuple(categories or ())
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


def _identity(entry: Mapping[str, Any], key: str, place: str) -> _Identity:
    """An id, which most files write as a whole number (or as 9.0) and some as text."""
    value = entry.get(key)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, (int, str)) or isinstance(value, bool) or len(str(value)[:300]) > 255:
        raise LabelFormatError(f"{place}: {key}: expected a number, got {shorten(value)}")
    return value


def _read_categories(
    content: Mapping[str, Any], options: ReadingOptions, path: Path, builder: TableBuilder
) -> dict[_Identity, _Category] | None:
    """Category id -> how to read faces of it; None where the file has no categories."""
    if not content.get("categories"):
        return None
    categories = _objects(content, "categories", path)
    names = [as_class_name(category.get("name")) for category in categories]
    chosen = choose_face_classes(names, options, f"{path}: categories", builder)
    result: dict[_Identity, _Category] = {}
    for i, (category, name) in enumerate(zip(categories, names, strict=True)):
        if name in chosen:
            place = f"{path}: categories[{i}]"
            result[_identity(category, "id", place)] = _read_category(category.get("keypoints") or [], place)
    return result


def _read_category(names: object, place: str) -> _Category:
    """Finds the five landmarks among the names of the keypoints."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabelFormatError(f"{place}.keypoints: expected a list of names, got {shorten(names)}")
    positions = landmark_positions(names)
    if len(names) == NUM_LANDMARKS and len(positions) < NUM_LANDMARKS:
        positions = _IN_ORDER
    return _Category(positions, len(names))


def _read_face(
    annotation: Mapping[str, Any],
    categories: Mapping[_Identity, _Category] | None,
    place: str,
    builder: TableBuilder,
) -> Iterator[tuple[Face, bool]]:
    """The face of one annotation, and whether it is a skeleton; nothing where it is of another class."""
    category = None
    if categories is not None:
        category = categories.get(_identity(annotation, "category_id", place))
        if category is None:
            builder.note("annotation of another class, left out", "dropped", place)
            return
    box = _read_box(annotation.get("bbox"), place)
    attributes = _read_attributes(annotation.get("attributes"), place, builder)
    points, occluded = _read_keypoints(annotation, category, place)
    if any(points):
        attributes[OCCLUDED_LANDMARKS] = occluded
    marks = [as_flag(annotation.get(key), place, what=key) for key in ("iscrowd", "ignore")]
    is_skeleton = category is not None and category.num_keypoints > 0
    yield Face(box, points, ignore=any(marks), attributes=attributes), is_skeleton


def _read_box(value: object, place: str, *, what: str = "4 box numbers") -> tuple[float, float, float, float]:
    """The corners of a box."""
    x, y, width, height = as_floats(value, 4, place, what=what)
    return x, y, x + width, y + height


def _read_keypoints(
    annotation: Mapping[str, Any], category: _Category | None, place: str
) -> tuple[list[Point | None], int]:
    """Five points or none, and the sum of the bits of those that are occluded."""
    keypoints = annotation.get("keypoints") or []
    if not keypoints:
        return [], 0
    positions, num_keypoints = category if category and category.num_keypoints else (_IN_ORDER, NUM_LANDMARKS)
    values = as_floats(keypoints, 3 * num_keypoints, place, what=f"{3 * num_keypoints} keypoint numbers")
    points: list[Point | None] = [None] * NUM_LANDMARKS
    occluded = 0
    for landmark, position in positions.items():
        x, y, visibility = values[3 * position : 3 * position + 3]
        if visibility > 0:
            points[landmark] = x, y
            occluded += 2**landmark if visibility == 1 else 0
    return points, occluded


def _read_attributes(given: object, place: str, builder: TableBuilder) -> dict[str, float]:
    """Further numbers of a face; what is no number is counted and left out."""
    result = {}
    for name, value in given.items() if isinstance(given, dict) else ():
        if isinstance(value, (bool, int, float)):
            result[name] = as_float(value + 0, place)  # true is 1
        else:
            builder.note(f"attribute {shown(name)} that is no number, left out", "dropped", place)
    return result


def _read_whole_body(annotation: Mapping[str, Any], place: str) -> Iterator[Face]:
    """The face of a person in COCO-WholeBody; nothing where it has none."""
    if not annotation.get("face_box") or not as_flag(annotation.get("face_valid", True), place, what="face_valid"):
        return
    box = _read_box(annotation["face_box"], place, what="4 numbers in face_box")
    points: list[Point | None] = []
    if annotation.get("face_kpts"):
        what = f"{3 * _FACE_POINTS} numbers in face_kpts"
        values = np.array(as_floats(annotation["face_kpts"], 3 * _FACE_POINTS, place, what=what)).reshape(-1, 3)
        groups = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))  # eyes, nose, mouth
        for part in (values[group] for group in groups):
            x, y, _ = part.mean(axis=0).tolist()
            points.append((x, y) if (part[:, 2] > 0).all() else None)
    is_crowd = as_flag(annotation.get("iscrowd"), place, what="iscrowd")
    yield Face(box, points if any(points) else (), ignore=is_crowd)


def _join_skeletons(faces: Sequence[tuple[Face, bool]]) -> list[Face]:
    """Faces with the points of a skeleton that lies in their box: CVAT writes the two as one annotation each."""
    skeletons = [face for face, is_skeleton in faces if is_skeleton and any(face.points)]
    boxes = [face for face, is_skeleton in faces if not is_skeleton]
    if not skeletons or not boxes:
        return [face for face, _ in faces]
    joined = list(boxes)
    for skeleton in skeletons:
        free = [(_area(box), i) for i, box in enumerate(boxes) if joined[i] is box and _holds(box, skeleton)]
        if free:
            _, i = min(free)
            attributes = {**skeleton.attributes, **boxes[i].attributes}
            joined[i] = boxes[i]._replace(points=skeleton.points, attributes=attributes)
        else:
            joined.append(skeleton)
    return joined


def _area(face: Face) -> float:
    return (face.box[2] - face.box[0]) * (face.box[3] - face.box[1])


def _holds(face: Face, skeleton: Face) -> bool:
    """Whether the middle of a skeleton's points lies in the box of a face."""
    known = [point for point in skeleton.points if point is not None]
    x, y = (sum(values) / len(known) for values in zip(*known, strict=True))
    return bool(face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3])


def is_coco_results(values: Sequence[Any]) -> bool:
    """Whether a JSON list holds results of a detector."""
    return bool(values) and isinstance(values[0], dict) and "image_id" in values[0] and "annotations" not in values[0]


def parse_results(values: Sequence[Any], path: Path, options: ReadingOptions) -> FaceTable:
    """The table of COCO results; images without a file name are named by their id.

    Raises:
        LabelFormatError: with the place; also where it is not known which of several categories is faces.
    """
    entries: dict[_Identity, list[tuple[str, dict[str, Any]]]] = {}
    categories: set[_Identity] = set()
    for i, value in enumerate(values, 1):
        place = f"{path}: entry {i}"
        if not isinstance(value, dict):
            raise LabelFormatError(f"{place}: expected a COCO result, got {shorten(value)}")
        if "annotations" in value:
            raise LabelFormatError(f"{path}: mixes images with COCO results; expected one or the other")
        if value.get("category_id") is not None:
            categories.add(_identity(value, "category_id", place))
        entries.setdefault(_identity(value, "image_id", place), []).append((place, value))
    chosen = categories if len(categories) < 2 else categories & set(options.category_ids())
    if categories and not chosen:
        listed = ", ".join(sorted(map(str, categories))[:10])
        raise LabelFormatError(
            f"{path}: results of several categories ({listed}), and nothing says which are faces; "
            "score them against COCO labels with these categories, or keep the faces alone"
        )
    builder = TableBuilder(options)
    for image_id, group in entries.items():
        name = group[0][1].get("file_name")  # where it is given, it counts: the ids may be numbers of our own
        builder.add_image(as_name(name or str(image_id), group[0][0]), path, image_id="" if name else image_id)
        for place, entry in group:
            if entry.get("category_id") is not None and _identity(entry, "category_id", place) not in chosen:
                builder.note("result of another category, left out", "dropped", place)
                continue
            if "bbox" not in entry or "score" not in entry:
                raise LabelFormatError(f"{place}: expected bbox and score in a COCO result, got {shorten(list(entry))}")
            points, _ = _read_keypoints(entry, None, place)
            score = as_float(entry["score"], place, what="a number as score")
            builder.add_face(Face(_read_box(entry["bbox"], place), points, score))
    return builder.build(boxes_are_corners=False)


def write_coco(path: Path, table: FaceTable) -> None:
    """Writes COCO keypoints; ignored faces are `iscrowd` and `ignore`, so that COCO's tools pass over them."""
    info = {"description": "faces with five landmarks", "landmarks": _IMAGE_SIDES}
    images = []
    for identity, name, (height, width) in zip(
        image_ids(table), table.file_names, table.image_sizes.tolist(), strict=True
    ):
        size = {"width": width, "height": height} if width and height else {}
        images.append({"id": identity, "file_name": name, **size})
    category = {"id": 1, "name": "face", "supercategory": "", "keypoints": LANDMARK_NAMES, "skeleton": _SKELETON}
    with path.open("wb") as file:
        file.write(b'{"info": ' + dump_json(info) + b',\n"licenses": [],\n"categories": [' + dump_json(category))
        file.write(b'],\n"images": [\n' + b",\n".join(map(dump_json, images)) + b"\n],\n")
        file.write(b'"annotations": [\n' + b",\n".join(map(dump_json, _annotations(table))) + b"\n]}\n")


def write_results(path: Path, table: FaceTable) -> None:
    """Writes COCO results, one face to a line; `file_name` is kept beside the image's id."""
    ids = np.repeat(np.array(image_ids(table), np.object_), table.num_faces).tolist()
    names = np.repeat(np.array(table.file_names, np.object_), table.num_faces).tolist()
    boxes = np.round(decimal_boxes_xywh(table.boxes), 3)
    scores = np.ones(len(boxes), np.float32) if table.scores is None else table.scores
    lines = []
    for image_id, name, box, score, points in zip(ids, names, boxes, scores, _keypoints(table), strict=True):
        face = {"image_id": image_id, "file_name": name, "category_id": 1, "bbox": box, "score": score}
        lines.append(dump_json(face if points is None else {**face, "keypoints": points}))
    path.write_bytes(json_list(lines))


def image_ids(table: FaceTable) -> list[_Identity]:
    """An id for each image, all distinct: those of the source, the numbers that the files are named by, or 1 to P."""
    if table.image_ids is not None and len(set(table.image_ids)) == len(table):
        return list(table.image_ids)
    stems = [Path(name).stem for name in table.file_names]
    if all(stem.isascii() and stem.isdecimal() and len(stem) < 16 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return [*numbers]
    return list(range(1, len(table) + 1))


def take_image_ids(table: FaceTable, ids: Mapping[str, int | str]) -> tuple[FaceTable, int]:
    """The images that COCO labels list, with the ids of the labels, and how many others were left out.

    Args:
        table: predictions.
        ids: name of an image -> its id; see read_image_ids.

    Raises:
        LabelFormatError: two images would have the same id, or none is listed.
    """
    names = list(ids)
    positions = pair_names(table.file_names, names)
    kept = [i for i, position in enumerate(positions) if position is not None]
    found = [ids[names[position]] for position in positions if position is not None]
    if len(set(found)) < len(found):
        raise LabelFormatError(f"{len(found) - len(set(found))} images are taken for the same image of the COCO labels")
    if not found and len(table):
        raise LabelFormatError(f"none of the {len(table)} images is in the COCO labels; they name {shown(names[:3])}")
    return replace(table.select_images(np.array(kept, np.intp)), image_ids=found), len(table) - len(kept)


def read_image_ids(path: Path) -> dict[str, _Identity]:
    """Name of an image -> its id, from COCO labels or a file of their images alone (as of a test set).

    Raises:
        LabelFormatError: with the place.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise LabelFormatError(f"{shown(path)}: expected COCO labels with images, got {shorten(content)}")
    images = [(f"{path}: images[{i}]", image) for i, image in enumerate(_objects(content, "images", path))]
    return {as_name(image.get("file_name"), place): _identity(image, "id", place) for place, image in images}


def _annotations(table: FaceTable) -> Iterator[dict[str, Any]]:
    """The entry of each face."""
    ids = np.repeat(np.array(image_ids(table), np.object_), table.num_faces).tolist()
    boxes = decimal_boxes_xywh(table.boxes)
    areas = np.round(boxes[:, 2] * boxes[:, 3], 3).tolist()
    counts = table.has_landmarks.sum(axis=1).tolist()
    others = {name: values for name, values in table.attributes.items() if name != OCCLUDED_LANDMARKS}
    ignored = table.ignore.astype(int).tolist()
    for i, (image_id, box, points) in enumerate(zip(ids, boxes, _keypoints(table), strict=True)):
        face = {"id": i + 1, "image_id": image_id, "category_id": 1, "bbox": box, "area": areas[i]}
        face |= {"iscrowd": ignored[i], "ignore": ignored[i]}
        if points is not None:
            face |= {"num_keypoints": counts[i], "keypoints": points}
        attributes = {name: values[i] for name, values in others.items() if np.isfinite(values[i])}
        yield {**face, "attributes": attributes} if attributes else face


def _keypoints(table: FaceTable) -> Iterator[Any]:
    """(15,) x, y and 2 for visible, 1 for occluded, 0 for missing points of each face; None where it has no point."""
    rows = landmark_columns(table, shortest_decimals(table.landmarks), missing=0, visible=2)
    is_known: list[bool] = np.logical_or.reduce(table.has_landmarks, axis=1).tolist()
    return (row if known else None for row, known in zip(rows, is_known, strict=True))
