"""The `label.txt` of RetinaFace and the `labelv2.txt` of SCRFD: a header an image, a line of numbers a face.

RetinaFace: `# path`, then `x y width height`, and where landmarks are known five `x y flag` and a last `blur`.
SCRFD: `# path width height`, then `x1 y1 x2 y2`, and where known five `x y flag`; a further number marks ignored faces.
A flag is 0 for a visible point, 1 for an occluded one, -1 (with x = y = -1) for a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.face_table import (
    OCCLUDED_LANDMARKS,
    OCCLUSION_BITS,
    FaceTable,
    Float64Array,
    IntArray,
    no_landmarks,
    no_sizes,
)
from retinaface_cli.formats.label_reader import Glimpse
from retinaface_cli.formats.text_lines import TextLines, read_lines, read_numbers, rows_of
from retinaface_cli.formats.values import as_name

_NUM_WITH_LANDMARKS = 4 + 3 * NUM_LANDMARKS

LANDMARK_BLUR = "landmark_blur"
"""Attribute: the last number of a line of label.txt, 0 to 1; not the `blur` class of WIDER FACE."""


def recognizes_label_txt(glimpse: Glimpse) -> bool:
    """A text file that begins with `# path`."""
    return glimpse.head.startswith(b"#") and not recognizes_labelv2_txt(glimpse)


def recognizes_labelv2_txt(glimpse: Glimpse) -> bool:
    """A text file that begins with `# path width height`."""
    return glimpse.head.startswith(b"#") and has_sizes_in_header(glimpse.lines[0])


def read_label_txt(path: Path) -> FaceTable:
    """Reads RetinaFace's label.txt, with or without landmarks.

    Raises:
        LabelFormatError: `file:line`, what was found and wanted.
    """
    return _read(path, is_scrfd=False)


def read_labelv2_txt(path: Path) -> FaceTable:
    """Reads SCRFD's labelv2.txt.

    Raises:
        LabelFormatError: `file:line`, what was found and wanted.
    """
    return _read(path, is_scrfd=True)


def has_sizes_in_header(header: str) -> bool:
    """Whether a header line says width and height behind the path, as SCRFD's do."""
    words = header.lstrip("#").split()
    return len(words) >= 3 and all(word.isdecimal() and len(word) < 10 for word in words[-2:])


def _read(path: Path, *, is_scrfd: bool) -> FaceTable:
    lines = read_lines(path)
    is_header = lines.begins_with("#")
    headers = np.flatnonzero(is_header)
    is_face = ~is_header & (lines.num_words > 0)
    face_lines = np.flatnonzero(is_face)
    if len(face_lines) and (not len(headers) or face_lines[0] < headers[0]):
        raise LabelFormatError(
            f"{lines.place(int(face_lines[0]))}: expected `# path` before the first face, "
            f"got {lines.text(int(face_lines[0]))[:60]!r}"
        )
    names, sizes = _read_headers(lines, headers, is_scrfd=is_scrfd)
    values, counts = _read_faces(lines, is_face, (4, 5, 19, 20) if is_scrfd else (4, 19, 20))
    landmarks, has_landmarks, flags = _landmarks(values, counts)
    boxes = values[:, :4].copy()
    last = np.where(counts == _NUM_WITH_LANDMARKS + 1, values[:, _NUM_WITH_LANDMARKS], np.nan)
    ignore = np.zeros(len(values), np.bool_)
    attributes = {}
    if is_scrfd:
        ignore = (last == 1) | ((counts == 5) & (values[:, 4] == 1))
    else:
        boxes[:, 2:] += boxes[:, :2]
        attributes[LANDMARK_BLUR] = np.where(last >= 0, last, np.nan)
    attributes[OCCLUDED_LANDMARKS] = _occlusion(flags, has_landmarks)
    return FaceTable(
        format_name="scrfd" if is_scrfd else "retinaface",
        file_names=names,
        num_faces=np.bincount(np.searchsorted(headers, face_lines) - 1, minlength=len(names)).astype(np.intp),
        boxes=boxes,
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        ignore=ignore,
        image_sizes=sizes,
        sources=[path] * len(names),
        lines=face_lines + 1,
        attributes={name: known for name, known in attributes.items() if np.isfinite(known).any()},
        boxes_are_corners=is_scrfd,
    )


def _read_headers(lines: TextLines, headers: IntArray, *, is_scrfd: bool) -> tuple[Sequence[str], IntArray]:
    """Names and sizes of the images."""
    sizes = no_sizes(len(headers))
    names = []
    for i, line in enumerate(headers.tolist()):
        name = lines.text(line).lstrip("#").strip()
        if is_scrfd:
            if not has_sizes_in_header(name):
                raise LabelFormatError(f"{lines.place(line)}: expected `# path width height`, got {name[:80]!r}")
            name, width, height = name.rsplit(maxsplit=2)
            sizes[i] = int(height), int(width)
        names.append(as_name(name, lines.place(line)))
    return names, sizes


def _read_faces(
    lines: TextLines, is_face: npt.NDArray[np.bool_], allowed: tuple[int, ...]
) -> tuple[Float64Array, IntArray]:
    """(N, 20) numbers, NaN where a line has fewer, and (N,) how many it has."""
    counts = lines.num_words[is_face]
    wrong = np.flatnonzero(~np.isin(counts, allowed))
    if len(wrong):
        line = int(np.flatnonzero(is_face)[wrong[0]])
        raise LabelFormatError(f"{lines.place(line)}: {_describe_count(int(counts[wrong[0]]))}")
    flat = read_numbers(lines, is_face)
    offsets = np.cumsum(counts) - counts
    values = np.full((len(counts), _NUM_WITH_LANDMARKS + 1), np.nan)
    for count in np.unique(counts).tolist():
        index = np.flatnonzero(counts == count)
        values[index, :count] = rows_of(flat, offsets[index], count)
    return values, counts


def _describe_count(count: int) -> str:
    """What is wrong with a line of so many numbers."""
    if count < 4:
        return f"expected 4 box numbers, got {count}"
    return f"expected 4 box numbers alone, or with 5 x 3 landmark numbers and one more, got {count} numbers"


def _landmarks(values: Float64Array, counts: IntArray) -> tuple[Float64Array, npt.NDArray[np.bool_], Float64Array]:
    """(N, 5, 2) points, (N, 5) whether they are there, (N, 5) flags."""
    landmarks, has_landmarks = no_landmarks(len(values))
    triples = values[:, 4:_NUM_WITH_LANDMARKS].reshape(-1, NUM_LANDMARKS, 3)
    has_points = (counts >= _NUM_WITH_LANDMARKS)[:, None]
    landmarks[:] = triples[:, :, :2]
    has_landmarks[:] = has_points & (triples[:, :, 2] >= 0)
    return landmarks, has_landmarks, triples[:, :, 2]


def _occlusion(flags: Float64Array, has_landmarks: npt.NDArray[np.bool_]) -> Float64Array:
    """(N,) the attribute occluded_landmarks, NaN for faces without landmarks."""
    occluded = ((flags == 1) & has_landmarks) @ OCCLUSION_BITS
    return np.where(has_landmarks.any(axis=1), occluded, np.nan)
