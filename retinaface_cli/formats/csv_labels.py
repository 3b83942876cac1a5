"""CSV labels: a row a face; an image without faces is a row with empty box columns.

With a header the columns are found by their names; without one the columns are those of RetinaNet's tools: image,
x_min, y_min, x_max, y_max, class.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes
from retinaface_cli.formats.csv_columns import HEAD_COLUMNS, CsvColumns, find_columns
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.findings import FindingCounter
from retinaface_cli.formats.label_reader import FaceRecord, Glimpse, ImageRecord, Point, ReadingOptions, build_table
from retinaface_cli.formats.text_lines import read_bytes
from retinaface_cli.formats.values import as_name, as_size, parse_number, read_text

_NO_HEADER = CsvColumns(file_name=0, box=(1, 2, 3, 4), box_is_corners=True, category=5)
_DELIMITERS = ",;\t"
_TRUE, _FALSE = ("1", "true", "1.0", "yes"), ("", "0", "false", "0.0", "no")


def recognizes_csv(glimpse: Glimpse) -> bool:
    """A file with the ending .csv or .tsv, or whose first line has five separated fields."""
    if glimpse.path.suffix.lower() in (".csv", ".tsv") and not glimpse.path.is_dir():
        return True
    first = glimpse.lines[0] if glimpse.lines else ""
    return not first.startswith(("{", "[", "#", "<")) and any(first.count(mark) >= 4 for mark in _DELIMITERS)


def read_csv(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a table of faces.

    Raises:
        LabelFormatError: with file and line.
    """
    rows = _read_rows(path)
    header = None if _is_data(rows[0].cells) else rows[0].cells
    columns = find_columns(header, f"{path}:{rows[0].line}") if header is not None else _NO_HEADER
    counter = FindingCounter()
    images: dict[str, list[_Row]] = {}
    chosen = _chosen_classes(rows[header is not None :], columns, options, path)
    for row in rows[header is not None :]:
        if len(row.cells) <= max(columns.file_name, *columns.box):
            raise LabelFormatError(
                f"{path}:{row.line}: expected {len(header or 'pxyxyc')} fields, got {len(row.cells)}"
            )
        group = images.setdefault(as_name(row.cells[columns.file_name], f"{path}:{row.line}"), [])
        if not any(row.cell(i) for i in columns.box):
            group.insert(0, row)  # keeps the image's size even where it has no face
        elif row.cell(columns.category) in chosen:
            group.append(row)
        else:
            counter.add("object of another class, left out", "dropped", f"{path}:{row.line}")
    return build_table(
        [_read_image(name, group, columns, path, counter) for name, group in images.items()],
        format_name="csv",
        boxes_are_corners=columns.box_is_corners,
        is_order_known=header is not None and tuple(header[: len(HEAD_COLUMNS)]) == HEAD_COLUMNS,
        findings=counter.findings,
    )


@dataclass(frozen=True)
class _Row:
    """One row with its line."""

    line: int
    cells: Sequence[str]

    def cell(self, column: int | None) -> str:
        """The stripped text of a column, empty if the row has no such column."""
        return self.cells[column].strip() if column is not None and column < len(self.cells) else ""


def _read_rows(path: Path) -> list[_Row]:
    """The rows that are not blank."""
    text = read_text(path, read_bytes(path))
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        rows = [_Row(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise LabelFormatError(f"{path}:{reader.line_num}: {error}") from None
    if not rows:
        raise LabelFormatError(f"{path}:1: expected a table of faces, got an empty file")
    return rows


def _is_data(cells: Sequence[str]) -> bool:
    """Whether the first row is no header: its second to fifth fields are numbers, or all empty."""
    texts = [cell.strip() for cell in cells[1:5]]
    if len(texts) == 4 and not any(texts):
        return True
    try:
        return len([float(text) for text in texts]) == 4
    except ValueError:
        return False


def _chosen_classes(rows: Sequence[_Row], columns: CsvColumns, options: ReadingOptions, path: Path) -> frozenset[str]:
    """The classes that are faces; rows without a class are faces, too."""
    names = sorted({row.cell(columns.category) for row in rows if any(row.cell(i) for i in columns.box)} - {""})
    return choose_face_classes(names, options.classes, str(path)) | {""}


def _read_image(
    name: str, rows: Sequence[_Row], columns: CsvColumns, path: Path, counter: FindingCounter
) -> ImageRecord:
    """The faces of one image."""
    size = (0, 0)
    if columns.image_size is not None and rows:
        place = f"{path}:{rows[0].line}"
        height, width = (parse_number(rows[0].cell(i) or "0", place) for i in columns.image_size)
        size = as_size(height, width, place)
    faces = [_read_face(row, columns, path, counter) for row in rows if any(row.cell(i) for i in columns.box)]
    return ImageRecord(name, path, faces, size)


def _read_face(row: _Row, columns: CsvColumns, path: Path, counter: FindingCounter) -> FaceRecord:
    """One face."""
    place = f"{path}:{row.line}"
    x, y, right, bottom = (parse_number(row.cell(i), place, what="a box number") for i in columns.box)
    box = (x, y, right, bottom) if columns.box_is_corners else (x, y, x + right, y + bottom)
    points: list[Point | None] = [None] * NUM_LANDMARKS
    for landmark, (i, j) in columns.points.items():
        if row.cell(i) or row.cell(j):
            points[landmark] = parse_number(row.cell(i), place), parse_number(row.cell(j), place)
    mark = row.cell(columns.ignore).lower()
    if mark not in _TRUE + _FALSE:
        raise LabelFormatError(f"{place}: ignore: expected 0 or 1, got {mark[:40]!r}")
    attributes = {}
    for name, i in columns.attributes.items():
        if row.cell(i):
            try:
                attributes[name] = parse_number(row.cell(i), place)
            except LabelFormatError:
                counter.add(f"{name} that is no number, left out", "dropped", place)
    return FaceRecord(box, points if any(points) else (), mark in _TRUE, attributes, row.line)
