"""FDDB labels: ellipses, in the text files `FDDB-fold-01-ellipseList.txt` and so on.

An image is a line with its path (without ending), a line with the number of faces, and a line a face: `major_radius
minor_radius angle center_x center_y 1`. A face's box is the smallest upright one that holds its ellipse.
"""

from __future__ import annotations

import math
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.label_reader import FaceRecord, Glimpse, ImageRecord, ReadingOptions, build_table
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import as_name, parse_number, read_text


def recognizes_fddb(glimpse: Glimpse) -> bool:
    """A text file of path, count and rows of six numbers, or a folder with ellipse lists."""
    if glimpse.path.is_dir():
        return any(name.endswith("ellipseList.txt") for name in glimpse.files)
    lines = glimpse.lines
    return len(lines) >= 3 and lines[1].strip().isdecimal() and len(lines[2].split()) == 6


def read_fddb(path: Path, options: ReadingOptions) -> FaceTable:  # noqa: ARG001  the interface of readers
    """Reads one list of ellipses, or all of a folder.

    Raises:
        LabelFormatError: with file and line.
    """
    files = sorted(path.rglob("*ellipseList.txt")) if path.is_dir() else [path]
    if not files:
        raise LabelFormatError(f"{path}: expected files like FDDB-fold-01-ellipseList.txt, found none")
    images = [image for file in files for image in _read_file(file)]
    return build_table(images, format_name="fddb")


def _read_file(path: Path) -> list[ImageRecord]:
    """The images of one list."""
    lines = read_text(path, read_bytes(path)).splitlines()
    images = []
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        name = as_name(lines[at], f"{path}:{at + 1}")
        count = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if not (count.isascii() and count.isdecimal()) or len(count) > 9:
            raise LabelFormatError(f"{path}:{at + 2}: expected the number of faces, got {count[:60]!r}")
        rows = lines[at + 2 : at + 2 + int(count)]
        if len(rows) < int(count):
            raise LabelFormatError(f"{path}:{at + 2}: expected {count} faces, got {len(rows)}: the file is cut off")
        faces = [_read_face(path, number, row) for number, row in enumerate(rows, at + 3)]
        images.append(ImageRecord(name if name.lower().endswith(".jpg") else f"{name}.jpg", path, faces))
        at += 2 + int(count)
    return images


def _read_face(path: Path, number: int, row: str) -> FaceRecord:
    """The upright box of one ellipse."""
    words = row.split()
    if len(words) not in (5, 6):
        raise LabelFormatError(f"{path}:{number}: expected 5 ellipse numbers and a 1, got {len(words)}")
    major, minor, angle, x, y = (parse_number(word, f"{path}:{number}") for word in words[:5])
    if not math.isfinite(angle):
        raise LabelFormatError(f"{path}:{number}: expected an angle in radians, got {words[2]!r}")
    half_width = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    half_height = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return FaceRecord((x - half_width, y - half_height, x + half_width, y + half_height), line=number)
