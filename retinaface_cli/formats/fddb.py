"""FDDB labels: ellipses, in the text files `FDDB-fold-01-ellipseList.txt` and so on.

An image is a line with its path (without ending), a line with the number of faces, and a line a face: `major_radius
minor_radius angle center_x center_y 1`. A face's box is the smallest upright one that holds its ellipse.
"""

from __future__ import annotations

import math
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.reader import ReadingOptions, SourceHead, TableBuilder, walk_files
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import as_name, parse_count, parse_number, read_lines, shorten

_SUFFIX = "ellipselist.txt"


def recognizes_fddb(source: SourceHead) -> bool:
    """A text file of path, count and rows of six numbers, or a folder with ellipse lists."""
    if source.is_folder:
        return bool(source.files_with(_SUFFIX))
    lines = source.lines
    return len(lines) >= 3 and lines[1].strip().isdecimal() and len(lines[2].split()) == 6


def read_fddb(path: Path, options: ReadingOptions) -> FaceTable:  # noqa: ARG001  the interface of readers
    """Reads one list of ellipses, or all of a folder.

    Raises:
        LabelFormatError: with file and line.
    """
    files = (
        [file for file in walk_files(path, ".txt") if file.name.lower().endswith(_SUFFIX)] if path.is_dir() else [path]
    )
    if not files:
        raise LabelFormatError(f"{path}: expected files like FDDB-fold-01-ellipseList.txt, found none")
    builder = TableBuilder()
    for file in files:
        _read_file(file, builder)
    return builder.build("fddb")


def _read_file(path: Path, builder: TableBuilder) -> None:
    """Adds the images of one list."""
    lines = read_lines(path)
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        name = as_name(lines[at], f"{path}:{at + 1}")
        count = parse_count(lines[at + 1] if at + 1 < len(lines) else "", f"{path}:{at + 2}")
        rows = lines[at + 2 : at + 2 + count]
        if len(rows) < count:
            raise LabelFormatError(f"{path}:{at + 2}: expected {count} faces, got {len(rows)}: the file is cut off")
        builder.add_image(name if name.lower().endswith(".jpg") else f"{name}.jpg", path)
        for number, row in enumerate(rows, at + 3):
            builder.add_face(_read_box(path, number, row), line=number)
        at += 2 + count


def _read_box(path: Path, number: int, row: str) -> tuple[float, float, float, float]:
    """The upright box of one ellipse."""
    words = row.split()
    if len(words) not in (5, 6):
        raise LabelFormatError(f"{path}:{number}: expected 5 ellipse numbers and a 1, got {len(words)}")
    major, minor, angle, x, y = (parse_number(word, f"{path}:{number}") for word in words[:5])
    if not math.isfinite(angle):
        raise LabelFormatError(f"{path}:{number}: expected an angle in radians, got {shorten(words[2])}")
    half_width = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    half_height = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return x - half_width, y - half_height, x + half_width, y + half_height
