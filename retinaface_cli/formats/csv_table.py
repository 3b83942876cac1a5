"""CSV tables: a row a face; an image without faces is a row with empty box columns.

With a header the columns are found by their names, of which tools have many; without one the columns are those of
RetinaNet's tools: image, x_min, y_min, x_max, y_max, class (of predictions: score).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import LANDMARK_NAMES, NUM_LANDMARKS
from retinaface_cli.formats.class_names import choose_face_classes, landmark_index
from retinaface_cli.formats.reader import Point, ReadingOptions, SourceHead, TableBuilder
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import as_name, as_size, number_words, parse_number, read_text, shorten

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
_SIZES = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("left", "top", "width", "height"),
    ("bboxx", "bboxy", "bboxw", "bboxh"),
    ("bboxx", "bboxy", "bboxwidth", "bboxheight"),
    ("x1", "y1", "w", "h"),
    ("x1", "y1", "width", "height"),
    ("xmin", "ymin", "width", "height"),
)
_IMAGE_SIZES = (("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("height", "width"))
_AXIS = re.compile(r"^(?P<name>.{1,60}?)[ _.-]?(?P<axis>[xyXY])$")
_DELIMITERS = ",;\t"
_TRUE, _FALSE = ("1", "true", "1.0", "yes"), ("", "0", "false", "0.0", "no")


@dataclass(frozen=True)
class _Columns:
    """Positions of the columns.

    Attributes:
        file_name: the image.
        box: four columns.
        box_is_corners: whether they are two corners, or a corner and a size.
        points: landmark -> its columns x and y.
        image_size: height and width of the image, if the table has them.
        category: class of the object, likewise.
        score: of predictions, likewise.
        ignore: mark of ignored faces, likewise.
        attributes: name -> column, all others.
    """

    file_name: int
    box: tuple[int, int, int, int]
    box_is_corners: bool
    points: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    category: int | None = None
    score: int | None = None
    ignore: int | None = None
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """One row with its line."""

    line: int
    cells: Sequence[str]

    def cell(self, column: int | None) -> str:
        """The stripped text of a column, empty if the row has no such column."""
        return self.cells[column].strip() if column is not None and column < len(self.cells) else ""


def recognizes_csv(source: SourceHead) -> bool:
    """A file with the ending .csv or .tsv, or whose first line has five separated fields."""
    if source.is_folder:
        return False
    first = source.lines[0]
    is_table = not first.startswith(("{", "[", "#", "<")) and any(first.count(mark) >= 4 for mark in _DELIMITERS)
    return source.path.suffix.lower() in (".csv", ".tsv") or is_table


def read_csv(path: Path, options: ReadingOptions) -> FaceTable:
    """Reads a table of faces.

    Raises:
        LabelFormatError: with file and line.
    """
    rows = _read_rows(path)
    has_header = not _is_data(rows[0].cells)
    columns = _find_columns(rows[0].cells, f"{path}:{rows[0].line}") if has_header else _default_columns(options)
    if options.with_scores and columns.score is None:
        raise LabelFormatError(f"{path}:{rows[0].line}: expected a column score, got {shorten(list(rows[0].cells))}")
    is_ours = tuple(rows[0].cells[: len(_LABEL_COLUMNS)]) == _LABEL_COLUMNS
    rows = rows[has_header:]
    builder = TableBuilder(options)
    chosen = _chosen_classes(rows, columns, options, path, builder)
    images: dict[str, list[_Row]] = {}
    for row in rows:
        if len(row.cells) <= max(columns.file_name, *columns.box):
            wanted = max(columns.file_name, *columns.box) + 1
            raise LabelFormatError(f"{path}:{row.line}: expected {wanted} fields, got {len(row.cells)}")
        group = images.setdefault(as_name(row.cells[columns.file_name], f"{path}:{row.line}"), [])
        if not any(row.cell(i) for i in columns.box):
            group.insert(0, row)  # keeps the image's size even where it has no face
        elif row.cell(columns.category) in chosen:
            group.append(row)
        else:
            builder.note("object of another class, left out", "dropped", f"{path}:{row.line}")
    for name, group in images.items():
        builder.add_image(name, path, size=_image_size(group, columns, path))
        for row in group:
            if any(row.cell(i) for i in columns.box):
                _add_face(builder, row, columns, path)
    return builder.build(boxes_are_corners=columns.box_is_corners, is_order_known=is_ours)


def _find_columns(header: Sequence[str], place: str) -> _Columns:
    """Finds the columns by their names, whatever their case and separators.

    Raises:
        LabelFormatError: no column names the image, or no four columns make a box.
    """
    names = {_plain(name): i for i, name in reversed(list(enumerate(header)))}
    file_name = next((names[name] for name in _FILE if name in names), None)
    groups = [(True, group) for group in _CORNERS] + [(False, group) for group in _SIZES]
    box = next(((corners, group) for corners, group in groups if all(name in names for name in group)), None)
    if file_name is None or box is None:
        raise LabelFormatError(
            f"{place}: expected columns file_name, x_min, y_min, x_max, y_max (or x, y, width, height), "
            f"got {', '.join(header)[:120]!r}"
        )
    is_corners, group = box
    x, y, right, bottom = (names[name] for name in group)
    free = {name: i for name, i in names.items() if i not in (file_name, x, y, right, bottom)}
    is_ours = tuple(header[: len(_LABEL_COLUMNS)]) == _LABEL_COLUMNS  # then attributes follow, whatever their names
    found = _Columns(
        file_name,
        (x, y, right, bottom),
        is_corners,
        points=_point_columns(header),
        image_size=next(((free[h], free[w]) for h, w in _IMAGE_SIZES if h in free and w in free), None),
        category=None if is_ours else _first(free, _CLASS),
        score=None if is_ours else _first(free, _SCORE),
        ignore=free.get("ignore") if is_ours else _first(free, _IGNORE),
    )
    used = {file_name, *found.box, found.category, found.score, found.ignore, *(found.image_size or ())}
    used |= {i for pair in found.points.values() for i in pair}
    attributes = {name.strip(): i for i, name in enumerate(header) if i not in used and name.strip()}
    return replace(found, attributes=attributes)


def _default_columns(options: ReadingOptions) -> _Columns:
    """The columns of a table without a header."""
    last = {"score": 5} if options.with_scores else {"category": 5}
    return _Columns(file_name=0, box=(1, 2, 3, 4), box_is_corners=True, **last)  # type: ignore[arg-type]


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


def _chosen_classes(
    rows: Sequence[_Row], columns: _Columns, options: ReadingOptions, path: Path, builder: TableBuilder
) -> frozenset[str]:
    """The classes that are faces; rows without a class are faces, too."""
    names = sorted({row.cell(columns.category) for row in rows if any(row.cell(i) for i in columns.box)} - {""})
    return choose_face_classes(names, options, str(path), builder) | {""}


def _image_size(rows: Sequence[_Row], columns: _Columns, path: Path) -> tuple[int, int]:
    """(height, width) of an image by its first row."""
    if columns.image_size is None or not rows:
        return 0, 0
    place = f"{path}:{rows[0].line}"
    height, width = (parse_number(rows[0].cell(i) or "0", place) for i in columns.image_size)
    return as_size(height, width, place)


def _add_face(builder: TableBuilder, row: _Row, columns: _Columns, path: Path) -> None:
    """Adds the face of one row."""
    place = f"{path}:{row.line}"
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
    score = 0.0 if columns.score is None else _score(row, columns, place)
    builder.add_face(box, points, score=score, ignore=mark in _TRUE, attributes=attributes, line=row.line)


def _score(row: _Row, columns: _Columns, place: str) -> float:
    return parse_number(row.cell(columns.score), place, what="a number as score")


def write_csv(path: Path, table: FaceTable) -> None:
    """Writes a row a face, with what is not known left empty; an image without faces is a row with its name alone."""
    values = [table.boxes]
    header = ["file_name", "width", "height", *_BOX_COLUMNS]
    if table.scores is not None:
        header.append("score")
        values.append(table.scores[:, None])
    header += _POINT_COLUMNS
    values.append(np.where(table.has_landmarks[:, :, None], table.landmarks, np.nan).reshape(-1, 2 * NUM_LANDMARKS))
    if table.scores is None:
        header += ["ignore", *table.attributes]
        values += [table.ignore[:, None].astype(np.float32), *(column[:, None] for column in table.attributes.values())]
    cells = iter(number_words(np.concatenate(values, axis=1, dtype=np.float32)))
    rows = list(zip(*[cells] * (len(header) - 3), strict=True))
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        bounds = zip(table.starts.tolist(), table.ends.tolist(), strict=True)
        for name, (height, width), (start, end) in zip(
            table.file_names, table.image_sizes.tolist(), bounds, strict=True
        ):
            head = [name, str(width or ""), str(height or "")]
            writer.writerows([*head, *row] for row in rows[start:end])
            if start == end:
                writer.writerow([*head, *[""] * (len(header) - len(head))])
