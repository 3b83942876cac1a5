"""CSV tables: a row a face; an image without faces is a row with empty box columns.

With a header the columns are found by their names, of which tools have many; without one the columns are those of
RetinaNet's tools: image, x_min, y_min, x_max, y_max, class (of predictions: score).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import LANDMARK_NAMES, NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes, landmark_index
from retinaface_cli.formats.reader import Face, Point, ReadingOptions, SourceHead, TableBuilder
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import as_name, as_size, number_rows, parse_number, read_text, shorten

_BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_POINT_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARK_NAMES for axis in "xy")
_LABEL_COLUMNS = ("file_name", "width", "height", *_BOX_COLUMNS, *_POINT_COLUMNS, "ignore")
"""Columns of the labels that we write, before those of the attributes."""

_FILE = ("filename", "file", "image", "imagename", "imagepath", "imagefile", "imageid", "path", "img", "name")
_CLASS = ("class", "classname", "label", "category", "labelname")
_SCORE = ("score", "confidence", "conf", "prob", "probability")
_IGNORE = ("ignore", "iscrowd", "isgroupof")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("boxxmin", "boxymin", "boxxmax", "boxymax"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
    ("x0", "y0", "x1", "y1"),
)
_STARTS = (("x", "y"), ("xmin", "ymin"), ("left", "top"), ("bboxx", "bboxy"), ("x1", "y1"))
_EXTENTS = (("w", "h"), ("width", "height"), ("bboxw", "bboxh"), ("bboxwidth", "bboxheight"))
_IMAGE_SIZES = (("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("height", "width"))
_AXIS = re.compile(r"^(?P<name>.{1,60}?)[ _.-]?(?P<axis>[xyXY])$")
_DELIMITERS = ",;\t"
_TRUE, _FALSE = ("1", "true", "1.0", "yes"), ("", "0", "false", "0.0", "no")


class _Columns(NamedTuple):
    """Positions of the columns; None where the table has no such column.

    Attributes:
        file_name: the image.
        box: four columns.
        box_is_corners: whether they are two corners, or a corner and a size.
        points: landmark -> its columns x and y.
        image_size: height and width of the image.
        category: class of the object.
        score: of predictions.
        ignore: mark of ignored faces.
        attributes: name -> column, all others.
    """

    file_name: int = 0
    box: tuple[int, int, int, int] = (1, 2, 3, 4)
    box_is_corners: bool = True
    points: Mapping[int, tuple[int, int]] = {}
    image_size: tuple[int, int] | None = None
    category: int | None = None
    score: int | None = None
    ignore: int | None = None
    attributes: Mapping[str, int] = {}


class _Row(NamedTuple):
    """One row with its line."""

    line: int
    cells: Sequence[str]

    def cell(self, column: int | None) -> str:
        """The stripped text of a column, empty if the row has no such column."""
        return self.cells[column].strip() if column is not None and column < len(self.cells) else ""

    def has_box(self, columns: _Columns) -> bool:
        """Whether anything stands in its box columns."""
        return any(map(self.cell, columns.box))


def recognizes_csv(source: SourceHead) -> bool:
    """A file with the ending .csv or .tsv, or whose first line has five separated fields."""
    if source.is_folder:
        return False
    first = source.lines[0]
    is_table = not first.startswith(("{", "[", "#", "<")) and any(first.count(mark) >= 4 for mark in _DELIMITERS)
    return source.path.suffix.lower() in (".csv", ".tsv") or is_table


def read_csv(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a table of faces."""
    rows = _read_rows(path)
    place = f"{path}:{rows[0].line}"
    has_header = not _is_data(rows[0].cells)
    unnamed = _Columns(score=5) if options.with_scores else _Columns(category=5)
    columns = _find_columns(rows[0].cells, place) if has_header else unnamed
    if options.with_scores and columns.score is None:
        raise LabelFormatError(f"{place}: expected a column score, got {shorten(list(rows[0].cells))}")
    is_ours = _is_ours(rows[0].cells)
    rows = rows[has_header:]
    builder = TableBuilder(options)
    names = sorted({row.cell(columns.category) for row in rows if row.has_box(columns)} - {""})
    chosen = choose_face_classes(names, options, str(path), builder) | {""}
    images: dict[str, list[_Row]] = {}
    num_needed = 1 + max(columns.file_name, *columns.box)
    for row in rows:
        place = f"{path}:{row.line}"
        if len(row.cells) < num_needed:
            raise LabelFormatError(f"{place}: expected {num_needed} fields, got {len(row.cells)}")
        group = images.setdefault(as_name(row.cells[columns.file_name], place), [])
        if not row.has_box(columns):
            group.insert(0, row)  # keeps the image's size even where it has no face
        elif row.cell(columns.category) in chosen:
            group.append(row)
        else:
            builder.note("object of another class, left out", "dropped", place)
    for name, group in images.items():
        builder.add_image(name, path, size=_image_size(group, columns, path))
        for row in group:
            if row.has_box(columns):
                _add_face(builder, row, columns, f"{path}:{row.line}")
    return builder.build(boxes_are_corners=columns.box_is_corners, is_order_known=is_ours)


def _is_ours(header: Sequence[str]) -> bool:
    """Whether we wrote the table; then attributes follow behind our columns, whatever their names."""
    return tuple(header[: len(_LABEL_COLUMNS)]) == _LABEL_COLUMNS


def _find_columns(header: Sequence[str], place: str) -> _Columns:
    """Finds the columns by their names, whatever their case and separators."""
    names = {_plain(name): i for i, name in reversed(list(enumerate(header)))}
    file_name = _first(names, _FILE)
    groups = [*((True, group) for group in _CORNERS), *((False, (*a, *b)) for a, b in product(_STARTS, _EXTENTS))]
    box = next(((corners, group) for corners, group in groups if names.keys() >= {*group}), None)
    if file_name is None or box is None:
        raise LabelFormatError(
            f"{place}: expected columns file_name, x_min, y_min, x_max, y_max (or x, y, width, height), "
            f"got {', '.join(header)[:120]!r}"
        )
    is_corners, (x, y, right, bottom) = box
    found = _Columns(
        file_name, (names[x], names[y], names[right], names[bottom]), is_corners, points=_point_columns(header)
    )
    free = {name: i for name, i in names.items() if i not in (file_name, *found.box)}
    is_ours = _is_ours(header)
    found = found._replace(
        image_size=next(((free[h], free[w]) for h, w in _IMAGE_SIZES if h in free and w in free), None),
        category=None if is_ours else _first(free, _CLASS),
        score=None if is_ours else _first(free, _SCORE),
        ignore=free.get("ignore") if is_ours else _first(free, _IGNORE),
    )
    used = {file_name, *found.box, found.category, found.score, found.ignore, *(found.image_size or ())}
    used |= {i for pair in found.points.values() for i in pair}
    attributes = {name.strip(): i for i, name in enumerate(header) if i not in used and name.strip()}
    return found._replace(attributes=attributes)


def _first(columns: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((columns[name] for name in names if name in columns), None)


def _plain(name: str) -> str:
    """Lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _point_columns(header: Sequence[str]) -> dict[int, tuple[int, int]]:
    """Landmark -> columns of x and y, for names like `left_eye_x`."""
    axes: dict[int, dict[str, int]] = {}
    for i, name in enumerate(header):
        match = _AXIS.match(name.strip())
        landmark = landmark_index(match["name"]) if match else None
        if match and landmark is not None:
            axes.setdefault(landmark, {}).setdefault(match["axis"].lower(), i)
    return {k: (axes[k]["x"], axes[k]["y"]) for k in range(NUM_LANDMARKS) if len(axes.get(k, ())) == 2}


def _read_rows(path: Path) -> list[_Row]:
    """The rows that are not blank."""
    text = read_text(path)
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=first.count))
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


def _image_size(rows: Sequence[_Row], columns: _Columns, path: Path) -> tuple[int, int]:
    """(height, width) of an image by its first row."""
    if columns.image_size is None or not rows:
        return 0, 0
    place = f"{path}:{rows[0].line}"
    height, width = (parse_number(rows[0].cell(i) or "0", place) for i in columns.image_size)
    return as_size(height, width, place)


def _add_face(builder: TableBuilder, row: _Row, columns: _Columns, place: str) -> None:
    """Adds the face of one row."""
    x, y, right, bottom = (parse_number(row.cell(i), place, what="a box number") for i in columns.box)
    box = (x, y, right, bottom) if columns.box_is_corners else (x, y, x + right, y + bottom)
    points: list[Point | None] = [None] * NUM_LANDMARKS
    for landmark, (i, j) in columns.points.items():
        if row.cell(i) or row.cell(j):
            points[landmark] = parse_number(row.cell(i), place), parse_number(row.cell(j), place)
    mark = row.cell(columns.ignore).lower()
    if mark not in _TRUE + _FALSE:
        raise LabelFormatError(f"{place}: ignore: expected 0 or 1, got {shorten(mark)}")
    attributes = {}
    for name, i in columns.attributes.items():
        if row.cell(i):
            try:
                attributes[name] = parse_number(row.cell(i), place)
            except LabelFormatError:
                builder.note(f"{shown(name)} that is no number, left out", "dropped", place)
    has_score = columns.score is not None
    score = parse_number(row.cell(columns.score), place, what="a number as score") if has_score else 0.0
    builder.add_face(Face(box, points, score, mark in _TRUE, attributes, row.line))


def write_csv(path: Path, table: FaceTable) -> None:
    """Writes a row a face, with what is not known left empty; an image without faces is a row with its name alone."""
    points = np.where(table.has_landmarks[:, :, None], table.landmarks, np.nan).reshape(-1, 2 * NUM_LANDMARKS)
    columns = dict(zip(_BOX_COLUMNS, table.boxes.T, strict=True))
    if table.scores is not None:
        columns["score"] = table.scores
    columns |= dict(zip(_POINT_COLUMNS, points.T, strict=True))
    if table.scores is None:
        columns |= {"ignore": table.ignore.astype(np.float32)}
        columns |= {name: values for name, values in table.attributes.items()}
    rows = number_rows(np.stack(list(columns.values()), axis=1, dtype=np.float32))
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file_name", "width", "height", *columns])
        for (name, faces), (height, width) in zip(table.spans(), table.image_sizes.tolist(), strict=True):
            for row in rows[faces] or [("",) * len(columns)]:
                writer.writerow([name, str(width or ""), str(height or ""), *row])
