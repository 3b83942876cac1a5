"""The `label.txt` of RetinaFace and the `labelv2.txt` of SCRFD: a header an image, a line of numbers a face.

RetinaFace: `# path`, then `x y width height`, and where landmarks are known five `x y flag` and a last `blur`.
SCRFD: `# path width height`, then `x1 y1 x2 y2`, and where known five `x y flag`; a further number marks ignored faces.
A flag is 0 for a visible point, 1 for an occluded one, -1 (with x = y = -1) for a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS, IntArray
from retinaface_cli.formats.reader import ReadingOptions
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, OCCLUSION_BITS, FaceTable, Float64Array
from retinaface_cli.formats.text import (
    Row,
    as_name,
    corners_of_xywh,
    decimal_boxes_xywh,
    landmark_columns,
    number_rows,
    parse_rows,
    read_lines,
    shorten,
    shortest_decimals,
)

LANDMARK_BLUR = "landmark_blur"
"""Attribute: the last number of a line of label.txt, 0 to 1; not the `blur` class of WIDER FACE."""

_NUM_WITH_LANDMARKS = 4 + 3 * NUM_LANDMARKS


def has_sizes_in_header(header: str) -> bool:
    """Whether a header line says width and height behind the path, as SCRFD's do."""
    words = header.lstrip("#").split()
    return len(words) >= 3 and all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words[-2:])


def read_label_txt(path: Path, options: ReadingOptions) -> FaceTable:  # noqa: ARG001  the interface of readers
    """Reads RetinaFace's label.txt, with or without landmarks."""
    return _read(path, is_scrfd=False)


def read_labelv2_txt(path: Path, options: ReadingOptions) -> FaceTable:  # noqa: ARG001  the interface of readers
    """Reads SCRFD's labelv2.txt."""
    return _read(path, is_scrfd=True)


def _read(path: Path, *, is_scrfd: bool) -> FaceTable:
    headers: list[Row] = []
    rows: list[Row] = []
    image_of: list[int] = []
    for number, line in enumerate(read_lines(path), 1):
        if line.startswith("#"):
            headers.append((number, line.lstrip("#").strip()))
        elif line and not line.isspace():
            rows.append((number, line))
            image_of.append(len(headers) - 1)
    if image_of and image_of[0] < 0:
        number, line = rows[0]
        raise LabelFormatError(f"{path}:{number}: expected `# path` before the first face, got {shorten(line)}")
    names, sizes = _read_headers(headers, path, is_scrfd=is_scrfd)
    values, counts = _read_faces(rows, path, (4, 5, 19, 20) if is_scrfd else (4, 19, 20))
    boxes, last = values[:, :4], values[:, _NUM_WITH_LANDMARKS]
    triples = values[:, 4:_NUM_WITH_LANDMARKS].reshape(-1, NUM_LANDMARKS, 3)
    has_landmarks = (counts >= _NUM_WITH_LANDMARKS)[:, None] & (triples[:, :, 2] >= 0)
    occluded = ((triples[:, :, 2] == 1) & has_landmarks) @ OCCLUSION_BITS
    attributes = {OCCLUDED_LANDMARKS: np.where(has_landmarks.any(axis=1), occluded, np.nan)}
    ignore = np.zeros(len(values), np.bool_)
    if is_scrfd:
        ignore = (last == 1) | ((counts == 5) & (values[:, 4] == 1))
    else:
        boxes = corners_of_xywh(boxes)
        attributes = {LANDMARK_BLUR: np.where(last >= 0, last, np.nan), **attributes}
    return FaceTable.from_boxes(
        names,
        np.bincount(np.array(image_of, np.intp), minlength=len(names)),
        boxes,
        landmarks=np.where(has_landmarks[:, :, None], triples[:, :, :2], np.nan),
        has_landmarks=has_landmarks,
        ignore=ignore,
        image_sizes=sizes,
        sources=[path] * len(names),
        lines=[number for number, _ in rows],
        attributes={name: known for name, known in attributes.items() if np.isfinite(known).any()},
        boxes_are_corners=is_scrfd,
    )


def _read_headers(headers: Sequence[Row], path: Path, *, is_scrfd: bool) -> tuple[list[str], list[tuple[int, int]]]:
    """Names and sizes (height, width) of the images."""
    names, sizes = [], []
    for number, header in headers:
        name, size = header, (0, 0)
        if is_scrfd:
            if not has_sizes_in_header(header):
                raise LabelFormatError(f"{path}:{number}: expected `# path width height`, got {shorten(header)}")
            name, width, height = header.rsplit(maxsplit=2)
            size = int(height), int(width)
        names.append(as_name(name, f"{path}:{number}"))
        sizes.append(size)
    return names, sizes


def _read_faces(rows: Sequence[Row], path: Path, allowed: tuple[int, ...]) -> tuple[Float64Array, IntArray]:
    """(N, 20) numbers, NaN where a line has fewer, and (N,) how many it has."""
    flat, counts = parse_rows(rows, path)
    wrong = np.flatnonzero(~np.isin(counts, allowed))
    if len(wrong):
        count = int(counts[wrong[0]])
        wanted = "4 box numbers" if count < 4 else "4 box numbers alone, or with 5 x 3 landmark numbers and one more"
        raise LabelFormatError(f"{path}:{rows[wrong[0]][0]}: expected {wanted}, got {count}")
    values = np.full((len(counts), _NUM_WITH_LANDMARKS + 1), np.nan)
    values[np.arange(values.shape[1]) < counts[:, None]] = flat
    return values, counts


def write_label_txt(path: Path, table: FaceTable) -> None:
    """Writes `# path` and a line a face; five points and a blur on every line if any face has them.

    The format cannot mark ignored faces, which are left out so that nobody learns them.
    """
    kept = table.select_faces(~table.ignore)
    lines = list(map(" ".join, number_rows(_columns(kept))))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for name, faces in kept.spans():
            file.write("\n".join([f"# {name}", *lines[faces]]) + "\n")


def _columns(table: FaceTable) -> Float64Array:
    """(N, 4) numbers, or (N, 20) if anything but boxes is known."""
    boxes = decimal_boxes_xywh(table.boxes)
    unknown = np.full(len(boxes), np.nan, np.float32)
    blur = shortest_decimals(table.attributes.get(LANDMARK_BLUR, unknown))
    if not table.has_landmarks.any() and not np.isfinite(blur).any():
        return boxes
    points = landmark_columns(table, shortest_decimals(table.landmarks), missing=-1, visible=0)
    return np.concatenate([boxes, points, np.nan_to_num(blur, nan=-1.0)[:, None]], axis=1)
