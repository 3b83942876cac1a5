"""Our own files: JSON (a list of images, one to a line), JSON Lines, and one JSON file an image.

One image: `{"file_name", "width", "height", "annotations": [{"bbox": [x_min, y_min, x_max, y_max], "landmarks":
[[x, y] * 5], "score", "ignore", "attributes"}]}` in pixels; everything but `file_name`, `annotations`, `bbox` and, for
predictions, `score` may be absent. A face without landmarks has `[]`, single missing points are `[-1, -1]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import NUM_LANDMARKS, FloatArray
from retinaface_cli.formats.reader import ReadingOptions
from retinaface_cli.formats.table import FaceTable, Float64Array
from retinaface_cli.formats.text import as_flag, as_name, as_size, dump_json, json_list, parse_json, read_utf8, shorten

_MISSING_POINT = [-1, -1]


class _Record(NamedTuple):
    """One image: its file, line (0: unknown), place for messages, name, (height, width) and faces."""

    source: Path
    line: int
    place: str
    file_name: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]]


def read_canonical(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads our JSON and JSON Lines, and the JSON of ternaus/retinaface, which lacks the optional keys."""
    return read_image_files([path], options)


def read_image_files(files: Iterable[Path], options: ReadingOptions) -> FaceTable:
    """Reads files of one image each, or of several."""
    return _build_table([record for file in files for record in _read_records(file, options)], options)


def _read_records(path: Path, options: ReadingOptions) -> Iterator[_Record]:
    """The images of a file; where it has one to a line, each with its line."""
    data = read_utf8(path)
    if not data.strip():
        raise LabelFormatError(f"{path}: the file is empty")
    is_list = data.lstrip()[:1] == b"["
    content = parse_json(data, place=str(path)) if is_list or data.count(b"\n") == 0 else _parse_lines(data, path)
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise LabelFormatError(f"{path}: expected a list of images, got {shorten(content)}")
    starts = [i for i, line in enumerate(data.split(b"\n"), 1) if line[:1] == b"{"]
    by_line = len(starts) == len(content)
    for i, value in enumerate(content):
        line = starts[i] if by_line else 0
        yield _record(value, path, line, f"{path}:{line}" if by_line else f"{path}: image {i + 1}", options)


def _parse_lines(data: bytes, path: Path) -> list[Any]:
    """The values of JSON Lines, or of one object that is spread over lines."""
    lines = [(i, line) for i, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    try:
        return [parse_json(line, place=f"{path}:{i}") for i, line in lines]
    except LabelFormatError:
        if lines[0][1].strip().endswith(b"}"):
            raise
        return [parse_json(data, place=str(path))]


def _record(value: object, path: Path, line: int, place: str, options: ReadingOptions) -> _Record:
    """Checks what belongs to the image itself."""
    if not isinstance(value, dict) or not {"file_name", "annotations"} & value.keys():
        got = shorten(value)
        if isinstance(value, dict):
            got = f"an object with {', '.join(map(shorten, list(value)[:6])) or 'no keys'}"
        raise LabelFormatError(f"{place}: expected an image with file_name and annotations, got {got}")
    name = as_name(value.get("file_name"), f"{place}: file_name")
    faces = value.get("annotations")
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise LabelFormatError(f"{place}: {name}: expected a list of annotations, got {shorten(faces)}")
    file_path = value.get("file_path")
    if options.with_scores:
        faces = [face for face in faces if face.get("bbox") != []]  # how ternaus/retinaface says that it found nothing
        if isinstance(file_path, str) and not file_path.startswith("/") and file_path.endswith(f"/{name}"):
            name = as_name(file_path, f"{place}: file_path")
    size = as_size(value.get("height"), value.get("width"), place)
    return _Record(path, line, f"{place} ({name})", name, size, faces)


def _build_table(records: Sequence[_Record], options: ReadingOptions) -> FaceTable:
    annotations = [face for record in records for face in record.annotations]
    boxes = _read_numbers(records, [face.get("bbox") for face in annotations], "bbox", (4,), "4 box numbers")
    landmarks = np.full((len(annotations), NUM_LANDMARKS, 2), np.nan)
    with_points = [i for i, face in enumerate(annotations) if face.get("landmarks")]
    landmarks[with_points] = _read_numbers(
        records,
        [annotations[i]["landmarks"] for i in with_points],
        "landmarks",
        (NUM_LANDMARKS, 2),
        "no landmarks or 5 pairs x, y",
    )
    has_landmarks = np.zeros((len(annotations), NUM_LANDMARKS), np.bool_)
    has_landmarks[with_points] = ~np.logical_and.reduce(landmarks[with_points] == _MISSING_POINT, axis=2)
    if options.with_scores:
        wanted = "a number; labels cannot stand for predictions"
        of_faces = {"scores": _read_numbers(records, [face.get("score") for face in annotations], "score", (), wanted)}
    else:
        of_faces = _read_extras(records, len(annotations))
    num_faces = [len(record.annotations) for record in records]
    return FaceTable.from_boxes(
        [record.file_name for record in records],
        num_faces,
        boxes,
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        image_sizes=[record.size for record in records],
        sources=[record.source for record in records],
        lines=np.repeat(np.array([record.line for record in records], np.intp), num_faces),
        **of_faces,
    )


def as_numbers(values: Sequence[Any], shape: tuple[int, ...]) -> Float64Array | None:
    """JSON values as one array of (len(values), *shape), or None if they are anything but numbers in that shape."""
    flat = values
    for size in shape:
        if not set(map(type, flat)) <= {list} or not set(map(len, flat)) <= {size}:
            return None
        flat = list(chain.from_iterable(flat))
    if not set(map(type, flat)) <= {int, float}:
        return None
    try:
        return np.array(flat, np.float64).reshape(len(values), *shape)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _read_numbers(
    records: Sequence[_Record], values: Sequence[Any], key: str, shape: tuple[int, ...], wanted: str
) -> Float64Array:
    """The values of a key of faces as one array; the error names the first face whose value has another shape."""
    numbers = as_numbers(values, shape)
    if numbers is not None:
        return numbers
    for record in records:
        for number, face in enumerate(record.annotations, 1):
            value = face.get(key)
            if as_numbers([value], shape) is None and (value or key != "landmarks"):
                is_count = isinstance(value, list) and key == "bbox" and len(value) != 4
                got = str(len(value or ())) if is_count else shorten(value)
                raise LabelFormatError(f"{record.place}: face {number}: {key}: expected {wanted}, got {got}")
    raise LabelFormatError(f"{records[0].place}: {key}: expected {wanted}")


def _read_extras(records: Sequence[_Record], num_faces: int) -> dict[str, Any]:
    """(N,) the mark `ignore`, and attribute name -> (N,) values, NaN where a face does not have it."""
    ignore = np.zeros(num_faces, np.bool_)
    attributes: dict[str, FloatArray] = {}
    faces = ((record, face) for record in records for face in record.annotations)
    for i, (record, face) in enumerate(faces):
        if "ignore" in face:
            ignore[i] = as_flag(face["ignore"], record.place, what="ignore")
        given = face.get("attributes") or {}
        if not isinstance(given, dict):
            raise LabelFormatError(f"{record.place}: attributes: expected name: number, got {shorten(given)}")
        for name, value in given.items():
            if not isinstance(value, (int, float)) or abs(value) > np.finfo(np.float32).max:
                place = f"{record.place}: attributes: {shown(name)}"
                raise LabelFormatError(f"{place}: expected a number, got {shorten(value)}")
            if name not in attributes:
                attributes[name] = np.full(num_faces, np.nan, np.float32)
            attributes[name][i] = value
    return {"ignore": ignore, "attributes": attributes}


def write_canonical(path: Path, table: FaceTable) -> None:
    """Writes a JSON list, one image to a line."""
    path.write_bytes(json_list(image_lines(table)))


def write_json_lines(path: Path, table: FaceTable) -> None:
    """Writes one image to a line."""
    path.write_bytes(b"".join(line + b"\n" for line in image_lines(table)))


def image_lines(table: FaceTable, *, with_paths: bool = False) -> list[bytes]:
    """The JSON object of each image, in one line each; with_paths: the name also as `file_path`."""
    objects = _face_objects(table)
    lines = []
    for (name, faces), (height, width) in zip(table.spans(), table.image_sizes.tolist(), strict=True):
        printable = name.encode("utf-8", "replace").decode()  # without bytes that are no Unicode
        entry: dict[str, Any] = {"file_name": printable}
        if with_paths:
            entry["file_path"] = printable
        if width and height:
            entry |= {"width": width, "height": height}
        lines.append(dump_json({**entry, "annotations": objects[faces]}))
    return lines


def _face_objects(table: FaceTable) -> list[dict[str, Any]]:
    """The value of each face, as dump_json takes it."""
    points = np.where(table.has_landmarks[:, :, None], table.landmarks, np.float32(-1))
    with_points: list[bool] = np.logical_or.reduce(table.has_landmarks, axis=1).tolist()
    faces: list[dict[str, Any]] = [
        {"bbox": box, "landmarks": marks if has else []}
        for box, marks, has in zip(table.boxes, points, with_points, strict=True)
    ]
    if table.scores is not None:
        for face, score in zip(faces, table.scores, strict=True):
            face["score"] = score
    for i in np.flatnonzero(table.ignore).tolist():
        faces[i]["ignore"] = True
    for name, values in table.attributes.items():
        for i in np.flatnonzero(np.isfinite(values)).tolist():
            faces[i].setdefault("attributes", {})[name] = values[i]
    return faces
