"""Which column of a CSV file holds what, by the many names that tools give to the same thing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_NAMES
from retinaface_cli.formats.class_names import landmark_index

BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
POINT_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARK_NAMES for axis in "xy")
HEAD_COLUMNS = ("file_name", "width", "height", *BOX_COLUMNS, *POINT_COLUMNS, "ignore")
"""Columns of the CSV that we write, before those of the attributes."""

_FILE = (
    "filename",
    "file",
    "image",
    "imagename",
    "imagepath",
    "imagefile",
    "imageid",
    "path",
    "img",
    "image",
    "name",
)
_CLASS = ("class", "classname", "label", "category", "labelname")
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
_AXIS = re.compile(r"^(?P<name>.+?)[ _.-]?(?P<axis>[xyXY])$")


@dataclass(frozen=True)
class CsvColumns:
    """Positions of the columns.

    Attributes:
        file_name: the image.
        box: four columns.
        box_is_corners: whether they are two corners, or a corner and a size.
        points: landmark -> its columns x and y.
        image_size: height and width of the image, if there.
        category: class of the object, if there.
        ignore: mark of ignored faces, if there.
        attributes: name -> column, all others.
    """

    file_name: int
    box: tuple[int, int, int, int]
    box_is_corners: bool
    points: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    image_size: tuple[int, int] | None = None
    category: int | None = None
    ignore: int | None = None
    attributes: Mapping[str, int] = field(default_factory=dict)


def find_columns(header: Sequence[str], place: str) -> CsvColumns:
    """Finds the columns by their names, whatever their case and separators.

    Raises:
        LabelFormatError: no column names the image, or no four columns make a box.
    """
    names = {_plain(name): i for i, name in reversed(list(enumerate(header)))}
    file_name = next((names[name] for name in _FILE if name in names), None)
    found = [(True, group) for group in _CORNERS] + [(False, group) for group in _SIZES]
    box = next(((corners, group) for corners, group in found if all(name in names for name in group)), None)
    if file_name is None or box is None:
        raise LabelFormatError(
            f"{place}: expected columns file_name, x_min, y_min, x_max, y_max (or x, y, width, height), "
            f"got {', '.join(header)[:120]}"
        )
    is_corners, group = box
    x, y, right, bottom = (names[name] for name in group)
    free = {name: i for name, i in names.items() if i not in (x, y, right, bottom)}
    size = next(((free[h], free[w]) for h, w in _IMAGE_SIZES if h in free and w in free), None)
    is_ours = tuple(header[: len(HEAD_COLUMNS)]) == HEAD_COLUMNS  # what follows are attributes, whatever their names
    category = None if is_ours else next((free[name] for name in _CLASS if name in free), None)
    points = _point_columns(header)
    used = {file_name, x, y, right, bottom, category, free.get("ignore"), *(size or ())}
    used |= {i for pair in points.values() for i in pair}
    attributes = {name.strip(): i for i, name in enumerate(header) if i not in used and name.strip()}
    return CsvColumns(
        file_name, (x, y, right, bottom), is_corners, points, size, category, free.get("ignore"), attributes
    )


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
    return {k: (axes[k]["x"], axes[k]["y"]) for k in range(len(LANDMARK_NAMES)) if len(axes.get(k, ())) == 2}
