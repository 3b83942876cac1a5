"""FDDB labels: ellipses, in the text files `FDDB-fold-01-ellipseList.txt` and so on.

An image is a line with its path (without ending), a line with the number of faces, and a line a face: `major_radius
minor_radius angle center_x center_y 1`. A face's box is the smallest upright one that holds its ellipse.
"""

from __future__ import annotations

import math
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.reader import Face, ReadingOptions, SourceHead, TableBuilder, walk_files
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import parse_number, read_blocks, shorten

_SUFFIX = "ellipselist.txt"


def recognizes_fddb(source: SourceHead) -> bool:
    """A text file of path, count and rows of six numbers, or a folder with ellipse lists."""
    if source.is_folder:
        return bool(source.files_with(_SUFFIX))
    lines = source.lines
    return len(lines) >= 3 and lines[1].strip().isdecimal() and len(lines[2].split()) == 6


def read_fddb(path: Path, options: ReadingOptions) -> FaceTable:  # noqa: ARG001  the interface of readers
    """Reads one list of ellipses, or all of a folder."""
    files = [path]
    if path.is_dir():
        files = [file for file in walk_files(path, ".txt") if file.name.lower().endswith(_SUFFIX)]
    if not files:
        raise LabelFormatError(f"{path}: expected files like FDDB-fold-01-ellipseList.txt, found none")
    builder = TableBuilder()
    for file in files:
        for block in read_blocks(file):
            name = block.name if block.name.lower().endswith(".jpg") else f"{block.name}.jpg"
            builder.add_image(name, file)
            for number, row in block.rows:
                builder.add_face(Face(_read_box(row, f"{file}:{number}"), line=number))
    return builder.build()


def _read_box(row: str, place: str) -> tuple[float, float, float, float]:
    """The upright box of one ellipse."""
    words = row.split()
    if len(words) not in (5, 6):
        raise LabelFormatError(f"{place}: expected 5 ellipse numbers and a 1, got {len(words)}")
    major, minor, angle, x, y = (parse_number(word, place) for word in words[:5])
    if not math.isfinite(angle):
        raise LabelFormatError(f"{place}: expected an angle in radians, got {shorten(words[2])}")
    half_width = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    half_height = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return x - half_width, y - half_height, x + half_width, y + half_height
