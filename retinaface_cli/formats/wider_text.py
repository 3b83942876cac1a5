"""The official text labels of WIDER FACE: `wider_face_split/wider_face_{train,val}_bbx_gt.txt`.

An image is a line with its path, a line with the number of faces, and a line a face: `x y width height blur expression
illumination invalid occlusion pose`. An image without faces has the number 0 and, mostly, one line of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import FaceTable, Float64Array, no_landmarks, no_sizes
from retinaface_cli.formats.text_lines import TextLines, read_lines, read_numbers
from retinaface_cli.formats.values import as_name

WIDER_ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")
"""What stands behind the box of a face, in this order."""

_NUM_COLUMNS = 4 + len(WIDER_ATTRIBUTES)


@dataclass(frozen=True)
class _Image:
    """An image's name, its first line of faces (from 0), and their number."""

    name: str
    first_line: int
    num_faces: int


def read_wider_text(path: Path) -> FaceTable:
    """Reads the official text labels; lines may have the box alone.

    Raises:
        LabelFormatError: `file:line`, what was found and wanted.
    """
    lines = read_lines(path)
    images = _read_images(lines)
    starts = np.array([image.first_line for image in images], np.intp)
    num_faces = np.array([image.num_faces for image in images], np.intp)
    firsts = np.repeat(starts - (np.cumsum(num_faces) - num_faces), num_faces)
    face_lines = firsts + np.arange(len(firsts))
    values = _read_faces(lines, face_lines)
    boxes = values[:, :4].copy()
    boxes[:, 2:] += boxes[:, :2]
    landmarks, has_landmarks = no_landmarks(len(values))
    attributes = {name: values[:, 4 + i] for i, name in enumerate(WIDER_ATTRIBUTES)} if values.shape[1] > 4 else {}
    return FaceTable(
        format_name="wider",
        file_names=[image.name for image in images],
        num_faces=num_faces,
        boxes=boxes,
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        ignore=attributes["invalid"] == 1 if attributes else np.zeros(len(values), np.bool_),
        image_sizes=no_sizes(len(images)),
        sources=[path] * len(images),
        lines=face_lines + 1,
        attributes=attributes,
        boxes_are_corners=False,
    )


def _read_images(lines: TextLines) -> list[_Image]:
    """Finds the images; blank lines may stand between them."""
    images = []
    line = 0
    while line < len(lines):
        if not lines.num_words[line]:
            line += 1
            continue
        name = as_name(lines.text(line), lines.place(line))
        if line + 1 >= len(lines):
            raise LabelFormatError(
                f"{lines.place(line)}: expected a line with the number of faces behind {name[:80]!r}"
            )
        count = _read_count(lines, line + 1)
        if line + 2 + count > len(lines):
            got = len(lines) - line - 2
            raise LabelFormatError(f"{lines.place(line + 1)}: expected {count} faces, got {got}: the file is cut off")
        images.append(_Image(name, line + 2, count))
        line += 2 + count
        if not count and line < len(lines) and _is_zeros(lines, line):
            line += 1
    return images


def _read_count(lines: TextLines, line: int) -> int:
    text = lines.text(line)
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise LabelFormatError(f"{lines.place(line)}: expected the number of faces, got {text[:60]!r}")
    return int(text)


def _is_zeros(lines: TextLines, line: int) -> bool:
    """Whether a line holds nothing but zeros, as behind an image without faces."""
    return lines.num_words[line] >= 4 and not lines.text(line).replace("0", "").replace(".", "").strip()


def _read_faces(lines: TextLines, face_lines: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Float64Array:
    """(N, 10) numbers, or (N, 4) where no line has attributes."""
    counts = lines.num_words[face_lines]
    num_columns = 4 if len(counts) and counts[0] == 4 else _NUM_COLUMNS
    wrong = np.flatnonzero(counts != num_columns)
    if len(wrong):
        line = int(face_lines[wrong[0]])
        wanted = "4 box numbers" if counts[wrong[0]] < 4 else f"{num_columns} numbers"
        raise LabelFormatError(f"{lines.place(line)}: expected {wanted}, got {counts[wrong[0]]}")
    selected = np.zeros(len(lines), np.bool_)
    selected[face_lines] = True
    return read_numbers(lines, selected).reshape(-1, num_columns)
