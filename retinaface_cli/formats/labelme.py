"""labelme labels: a JSON file an image with `shapes`; faces are rectangles, landmarks are points beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.class_names import as_class_name, choose_face_classes, landmark_index
from retinaface_cli.formats.reader import Face, Point, ReadingOptions, TableBuilder, walk_files
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import as_floats, as_name, as_size, read_json, shorten

_BOX_SHAPES = ("rectangle", "polygon", "circle")


class _Shape(NamedTuple):
    """One shape: its label, kind, points, group (None: no group) and place in messages."""

    label: str
    kind: str
    points: Sequence[Point]
    group: object
    place: str

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The upright box around the shape."""
        if self.kind == "circle":  # its centre, and a point on it
            (x, y), (edge_x, edge_y) = self.points[:2]
            radius = math.hypot(edge_x - x, edge_y - y)
            return x - radius, y - radius, x + radius, y + radius
        xs, ys = zip(*self.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


def read_labelme(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads one labelme file or all of a folder; broken and other JSON files in it are left out and counted."""
    files = list(walk_files(path, ".json")) if path.is_dir() else [path]
    builder = TableBuilder()
    contents = []
    for file in files:
        with builder.label_file():
            content = read_json(file)
            if isinstance(content, dict) and isinstance(content.get("shapes"), list):
                contents.append((file, content, _read_shapes(content, file)))
            elif path.is_dir():
                builder.note("JSON file without shapes, left out", "dropped", str(file))
    if not contents:
        builder.check_any_read()
        raise LabelFormatError(f"{path}: expected labelme .json files with a list of shapes, found none")
    labels = sorted({shape.label for *_, shapes in contents for shape in shapes if shape.kind in _BOX_SHAPES})
    chosen = choose_face_classes(labels, options, str(path), builder)
    base = path if path.is_dir() else path.parent
    for file, content, shapes in contents:
        with builder.label_file():
            size = as_size(content.get("imageHeight"), content.get("imageWidth"), str(file))
            builder.add_image(_image_name(file, content, base), file, size=size)
            _add_faces(builder, shapes, chosen)
    return builder.build(is_order_known=False)


def _image_name(path: Path, content: Mapping[str, Any], base: Path) -> str:
    """The image's name: imagePath is relative to the JSON file."""
    written = content.get("imagePath")
    name = as_name(written, f"{path}: imagePath") if written else f"{path.stem}.jpg"
    kept: list[str] = []
    for part in PurePosixPath(path.parent.relative_to(base).as_posix(), name).parts:
        if part != "..":
            kept.append(part)
        elif kept:
            kept.pop()
    return as_name(PurePosixPath(*kept).as_posix() if kept else "", f"{path}: imagePath")


def _read_shapes(content: Mapping[str, Any], path: Path) -> list[_Shape]:
    """All shapes of a file."""
    shapes = []
    for i, value in enumerate(content["shapes"]):
        place = f"{path}: shapes[{i}]"
        if not isinstance(value, dict) or not isinstance(value.get("points"), list):
            raise LabelFormatError(f"{place}: expected an object with points, got {shorten(value)}")
        points = [_point(point, place) for point in value["points"]]
        kind = as_class_name(value.get("shape_type") or "polygon")
        if not points or (kind in ("rectangle", "circle") and len(points) < 2):
            raise LabelFormatError(f"{place}: expected 2 points of a {kind}, got {len(points)}")
        group = value.get("group_id")
        shapes.append(_Shape(as_class_name(value.get("label")), kind, points, group, place))
    return shapes


def _point(value: object, place: str) -> Point:
    x, y = as_floats(value, 2, place, what="points of 2 numbers")
    return x, y


def _add_faces(builder: TableBuilder, shapes: Sequence[_Shape], chosen: frozenset[str]) -> None:
    """Adds faces with the points that belong to them: those of the same group, or inside the box."""
    boxes = [shape for shape in shapes if shape.kind in _BOX_SHAPES and shape.label in chosen]
    points: list[list[Point | None]] = [[None] * NUM_LANDMARKS for _ in boxes]
    for shape in shapes:
        landmark = landmark_index(shape.label) if shape.kind == "point" else None
        owner = _owner(shape, boxes) if landmark is not None else None
        if landmark is not None and owner is not None and points[owner][landmark] is None:
            points[owner][landmark] = shape.points[0]
        elif shape not in boxes:
            builder.note("shape that is neither face nor landmark of one, left out", "dropped", shape.place)
    for box, known in zip(boxes, points, strict=True):
        builder.add_face(Face(box.box, known))


def _owner(shape: _Shape, boxes: Sequence[_Shape]) -> int | None:
    """Which face a point belongs to: the one of its group, else the smallest that holds it."""
    if shape.group is not None:
        return next((i for i, box in enumerate(boxes) if box.group == shape.group), None)
    x, y = shape.points[0]
    sides = [box.box for box in boxes]
    inside = [((x2 - x1) * (y2 - y1), i) for i, (x1, y1, x2, y2) in enumerate(sides) if x1 <= x <= x2 and y1 <= y <= y2]
    return min(inside)[1] if inside else None
