"""Our own labels: JSON (a list of images, one to a line) and JSON Lines.

One image: `{"file_name", "width", "height", "annotations": [{"bbox": [x_min, y_min, x_max, y_max], "landmarks":
[[x, y] * 5], "ignore", "attributes"}]}` in pixels; everything but `file_name`, `annotations` and `bbox` may be absent.
A face without landmarks has `[]`, single missing points are `[-1, -1]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.face_table import FaceTable, Float64Array, no_landmarks
from retinaface_cli.formats.json_text import as_numbers, parse_json, read_json, read_json_lines
from retinaface_cli.formats.label_reader import Glimpse
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import as_name, as_size, shorten

_MISSING_POINT = [-1, -1]

_MAX_ATTRIBUTE = 1e38
"""What float32 can hold."""


def recognizes_canonical(glimpse: Glimpse) -> bool:
    """A JSON list of objects, or an empty one."""
    return re.match(rb"\[\s*[{\]]", glimpse.head) is not None


def recognizes_json_lines(glimpse: Glimpse) -> bool:
    """Objects with file_name and annotations; where there is one alone, it may be spread over lines."""
    head = glimpse.head
    return head.startswith(b"{") and b'"file_name"' in head[:4096] and b'"images"' not in head[:4096]


@dataclass(frozen=True)
class _Record:
    """One image of the file: its place for messages, its line (0: unknown), its name, size and faces."""

    place: str
    line: int
    file_name: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]]


def read_canonical(path: Path) -> FaceTable:
    """Reads our JSON, and that of ternaus/retinaface, which is the same without the optional keys.

    Raises:
        LabelFormatError: with the place.
    """
    return _build_table(path, list(_json_records(path)), "json")


def read_json_lines_labels(path: Path) -> FaceTable:
    """Reads one image to a line.

    Raises:
        LabelFormatError: with the line.
    """
    records = [_record(value, f"{path}:{line}", line) for line, value in read_json_lines(path)]
    return _build_table(path, records, "jsonl")


def _json_records(path: Path) -> Iterator[_Record]:
    """The images of a JSON list; where the file has one to a line, each with its line."""
    lines = read_bytes(path).rstrip().split(b"\n")
    if len(lines) > 2 and lines[0].strip() == b"[" and lines[-1].strip() == b"]":
        try:
            values = [parse_json(line.strip().removesuffix(b","), str(path)) for line in lines[1:-1]]
        except LabelFormatError:
            values = []  # the list is laid out in another way, or broken, which the parser of the whole can tell
        if values and all(line.rstrip().endswith(b",") for line in lines[1:-2]):
            yield from (_record(value, f"{path}:{i}", i) for i, value in enumerate(values, 2))
            return
    content = read_json(path)
    if isinstance(content, dict) and "file_name" in content:  # one image alone, as old inference scripts write it
        content = [content]
    if not isinstance(content, list):
        raise LabelFormatError(f"{path}: expected a list of images, got {shorten(content)}")
    yield from (_record(value, f"{path}: image {i}", 0) for i, value in enumerate(content, 1))


def _record(value: object, place: str, line: int) -> _Record:
    """Checks what belongs to the image itself."""
    if not isinstance(value, dict):
        raise LabelFormatError(f"{place}: expected an image with file_name and annotations, got {shorten(value)}")
    name = as_name(value.get("file_name"), f"{place}: file_name")
    faces = value.get("annotations")
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise LabelFormatError(f"{place}: {name}: expected a list of annotations, got {shorten(faces)}")
    size = as_size(value.get("height"), value.get("width"), place)
    return _Record(f"{place} ({name})", line, name, size, faces)


def _build_table(path: Path, records: Sequence[_Record], format_name: str) -> FaceTable:
    faces = [(record, face) for record in records for face in record.annotations]
    annotations = [face for _, face in faces]
    boxes = as_numbers([face.get("bbox") for face in annotations], (4,))
    if boxes is None:
        raise LabelFormatError(_find_wrong(faces, "bbox", (4,), "4 box numbers"))
    landmarks, has_landmarks = _landmarks(faces)
    return FaceTable(
        format_name=format_name,
        file_names=[record.file_name for record in records],
        num_faces=np.array([len(record.annotations) for record in records], np.intp),
        boxes=boxes,
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        ignore=np.array([_flag(record, face) for record, face in faces], np.bool_),
        image_sizes=np.array([record.size for record in records], np.intp).reshape(-1, 2),
        sources=[path] * len(records),
        lines=np.array([record.line for record, _ in faces], np.intp),
        attributes=_attributes(faces),
    )


def _landmarks(faces: Sequence[tuple[_Record, dict[str, Any]]]) -> tuple[Float64Array, Any]:
    """(N, 5, 2) points and (N, 5) whether they are there."""
    landmarks, has_landmarks = no_landmarks(len(faces))
    index = [i for i, (_, face) in enumerate(faces) if face.get("landmarks")]
    known = as_numbers([faces[i][1]["landmarks"] for i in index], (NUM_LANDMARKS, 2))
    if known is None:
        chosen = [faces[i] for i in index]
        raise LabelFormatError(_find_wrong(chosen, "landmarks", (NUM_LANDMARKS, 2), "no landmarks or 5 pairs x, y"))
    landmarks[index] = known
    has_landmarks[index] = ~(known == _MISSING_POINT).all(axis=2)
    return landmarks, has_landmarks


def _find_wrong(faces: Sequence[tuple[_Record, dict[str, Any]]], key: str, shape: tuple[int, ...], wanted: str) -> str:
    """The message for the first face whose value is not numbers in that shape."""
    number, last = 0, None
    for record, face in faces:
        number = number + 1 if record is last else 1
        last = record
        value = face.get(key)
        if as_numbers([value], shape) is None:
            got = len(value) if isinstance(value, list) and key == "bbox" and len(value) != shape[0] else shorten(value)
            return f"{record.place}: face {number}: {key}: expected {wanted}, got {got}"
    return f"{faces[0][0].place}: {key}: expected {wanted}"


def _flag(record: _Record, face: Mapping[str, Any]) -> bool:
    """The mark `ignore` of a face."""
    value = face.get("ignore", False)
    if value in (0, 1):  # True and False are 1 and 0
        return bool(value)
    raise LabelFormatError(f"{record.place}: ignore: expected true or false, got {shorten(value)}")


def _attributes(faces: Sequence[tuple[_Record, dict[str, Any]]]) -> dict[str, Float64Array]:
    """Attribute name -> (N,) values, NaN where a face does not have it."""
    result: dict[str, Float64Array] = {}
    for i, (record, face) in enumerate(faces):
        given = face.get("attributes")
        if not given:
            continue
        if not isinstance(given, dict):
            raise LabelFormatError(f"{record.place}: attributes: expected name: number, got {shorten(given)}")
        for name, value in given.items():
            if not isinstance(value, (int, float)) or abs(value) > _MAX_ATTRIBUTE:
                raise LabelFormatError(f"{record.place}: attributes: {name}: expected a number, got {shorten(value)}")
            if name not in result:
                result[name] = np.full(len(faces), np.nan)
            result[name][i] = value
    return result
