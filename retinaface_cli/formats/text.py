"""Text of label and prediction files, and single values in it.

All functions that read, parse or check raise LabelFormatError with the place.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import orjson

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import NUM_LANDMARKS, FloatArray, IntArray
from retinaface_cli.files import reading
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, FaceTable, Float64Array, read_occlusion

_HEAD_BYTES = 1 << 16


Row = tuple[int, str]
"""A line with its number, from 1."""


class Block(NamedTuple):
    """An image in a text file: its line and name, and the lines of its faces."""

    line: int
    name: str
    rows: Sequence[Row]


def read_head(path: Path) -> bytes:
    """The first 64 KB of a file (unpacked) as UTF-8, without byte order mark and leading spaces."""
    with reading.open_regular(path, error=LabelFormatError) as file:
        head = file.read(_HEAD_BYTES)
        if head.startswith(b"\x1f\x8b"):
            file.seek(0)
            head = gzip.GzipFile(fileobj=file).read(_HEAD_BYTES)
    encoding = reading.encoding_of(head)
    return head.lstrip() if encoding == "utf-8" else head.decode(encoding, errors="replace").encode().lstrip()


def try_read_head(path: Path) -> bytes:
    """See read_head; nothing of a file that cannot be read."""
    try:
        return read_head(path)
    except LabelFormatError:
        return b""


read_text = partial(reading.read_text, error=LabelFormatError)
"""A text file, unpacked if it is gzipped."""

read_utf8 = partial(reading.read_utf8, error=LabelFormatError)
"""A text file as UTF-8."""

parse_json = partial(reading.parse_json, error=LabelFormatError)
"""The value of JSON text, with `place` for the error."""

read_json = partial(reading.read_json, error=LabelFormatError)
"""The value of a JSON file."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; only line feeds (with or without a carriage return) end one."""
    return [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]


def read_blocks(path: Path) -> Iterator[Block]:
    """The images of a text file that has a line with the name, one with the number of faces, and a line a face.

    Blank lines may stand between the images, and one line of zeros behind an image without faces.
    """
    lines = read_lines(path)
    at = 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        name = as_name(lines[at].lstrip("#"), f"{path}:{at + 1}")
        if at + 1 >= len(lines):
            raise LabelFormatError(f"{path}:{at + 1}: expected a line with the number of faces behind {shorten(name)}")
        count = parse_count(lines[at + 1], f"{path}:{at + 2}")
        rows = lines[at + 2 : at + 2 + count]
        if len(rows) < count:
            raise LabelFormatError(f"{path}:{at + 2}: expected {count} faces, got {len(rows)}: the file is cut off")
        yield Block(at + 1, name, list(enumerate(rows, at + 3)))
        at += 2 + count
        if not count and at < len(lines) and _is_zeros(lines[at]):
            at += 1


def _is_zeros(line: str) -> bool:
    return len(line.split()) >= 4 and not line.translate({ord("0"): None, ord("."): None}).strip()


def dump_json(value: object) -> bytes:
    """JSON in one line; float32 arrays print with the fewest digits that read back the same, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def json_list(lines: Sequence[bytes]) -> bytes:
    """A JSON list of values that are JSON already, one to a line."""
    return b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n"


def number_words(values: FloatArray | Float64Array) -> list[str]:
    """The shortest text of each number that reads back the same, without a `.0`; nothing for NaN."""
    if not values.size:
        return []
    text = dump_json(np.ascontiguousarray(values).ravel()).decode("ascii")[1:-1]
    return f"{text},".replace(".0,", ",").replace("null", "")[:-1].split(",")


def number_rows(values: FloatArray | Float64Array) -> list[tuple[str, ...]]:
    """The words of each row of a table of numbers."""
    words = iter(number_words(values))
    return list(zip(*[words] * values.shape[1], strict=True))


def shortest_decimals(values: FloatArray) -> Float64Array:
    """Float64 numbers that print as short as the float32 ones do: 58.393 for 58.39300155639648. NaN stays NaN."""
    flat: list[float | None] = orjson.loads(dump_json(np.ascontiguousarray(values).ravel()))
    return np.array(flat, np.float64).reshape(values.shape)


def corners_of_xywh(boxes_xywh: Float64Array) -> Float64Array:
    """(N, 4) corners of boxes that are left, top, width and height."""
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found by the checks
        return np.concatenate([boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]], axis=1)


def decimal_boxes_xywh(boxes: FloatArray) -> Float64Array:
    """(N, 4) left, top, width and height of (N, 4) corners, such that left + width gives the same x_max in float32."""
    corners = shortest_decimals(boxes)
    sizes = corners[:, 2:] - corners[:, :2]
    short = np.round(sizes, 9)
    is_same = (corners[:, :2] + short).astype(np.float32) == boxes[:, 2:]
    return np.concatenate([corners[:, :2], np.where(is_same, short, sizes)], axis=1)


def landmark_columns(
    table: FaceTable, points: FloatArray | Float64Array, *, missing: float, visible: float
) -> Float64Array:
    """(N, 15) x, y and a flag of each landmark; x and y of missing ones are as their flag.

    Args:
        table: says which points are known and occluded.
        points: (N, 5, 2) in the units to write.
        missing: flag of missing points.
        visible: flag of visible points; that of occluded ones is 1.
    """
    unknown = np.zeros(len(points), np.float32)
    is_occluded = read_occlusion(table.attributes.get(OCCLUDED_LANDMARKS, unknown))
    flags = np.where(table.has_landmarks, np.where(is_occluded, 1, visible), missing)[:, :, None]
    known = np.where(table.has_landmarks[:, :, None], points, missing)
    return np.concatenate([known, flags], axis=2).reshape(len(points), 3 * NUM_LANDMARKS)


def parse_rows(rows: Sequence[Row], path: Path) -> tuple[Float64Array, IntArray]:
    """All numbers of numbered lines, one after the other, and how many each line has; `nan` and `inf` are numbers."""
    counts = np.array([len(row.split()) for _, row in rows], np.intp)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # text behind which the parser stopped
            values = np.fromstring(" ".join([row for _, row in rows]), np.float64, sep=" ")
    except (DeprecationWarning, ValueError):
        values = np.zeros(0)
    if len(values) != counts.sum():
        words = [(number, word) for number, row in rows for word in row.split()]
        values = np.array([parse_number(word, f"{path}:{number}") for number, word in words])
    return values, counts


def shorten(value: object) -> str:
    """A value as a message shows it: on one line, printable and short; text in quotes."""
    text = shown(value, max_length=58)
    return f"'{text}'" if isinstance(value, str) else text


def parse_number(text: str | None, place: str, *, what: str = "a number") -> float:
    """The number that a text stands for; `nan` and `inf` are numbers here, and are dealt with by the checks."""
    words = (text or "").strip()
    try:
        if not words.isascii() or "_" in words:
            raise ValueError
        return float(words)
    except ValueError:
        raise LabelFormatError(f"{place}: expected {what}, got {shorten(text)}") from None


def parse_count(text: str, place: str) -> int:
    """The number of faces that stands alone on a line."""
    words = text.strip()
    if not (words.isascii() and words.isdecimal()) or len(words) > 9:
        raise LabelFormatError(f"{place}: expected the number of faces, got {shorten(words)}")
    return int(words)


def as_floats(values: object, count: int, place: str, *, what: str) -> list[float]:
    """A JSON list of so many numbers."""
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else shorten(values)
        raise LabelFormatError(f"{place}: expected {what}, got {got}")
    return [as_float(value, place, what=what) for value in values]


def as_float(value: object, place: str, *, what: str = "a number") -> float:
    """A JSON number that a float can hold."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > 1e300:  # NaN passes
        return float(value)
    raise LabelFormatError(f"{place}: expected {what}, got {shorten(value)}")


def as_size(height: object, width: object, place: str) -> tuple[int, int]:
    """Height and width of an image in whole pixels; (0, 0) where one of them is not given or 0."""
    if height in (None, 0) or width in (None, 0):
        return 0, 0
    sizes = []
    for value in (height, width):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**31 or value % 1:
            got = f"{shorten(width)} x {shorten(height)}"
            raise LabelFormatError(f"{place}: expected width and height in whole pixels, got {got}")
        sizes.append(int(value))
    return sizes[0], sizes[1]


def as_name(value: object, place: str) -> str:
    """An image's name with forward slashes and without `./` in front; see also images.leave_out_unprintable."""
    name = value.strip().replace("\\", "/") if isinstance(value, str) else ""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if not name:
        raise LabelFormatError(f"{place}: expected the name of an image, got {shorten(value)}")
    return name


def as_flag(value: object, place: str, *, what: str) -> bool:
    """A mark that is true, false, 0 or 1, or absent."""
    if value is None or (isinstance(value, (bool, int, float)) and value in (0, 1)):
        return bool(value)
    raise LabelFormatError(f"{place}: {what}: expected true or false, got {shorten(value)}")


def text_file_name(file_name: str) -> PurePosixPath:
    """Path of an image's text file below its folder, which it never leaves."""
    name = PurePosixPath(file_name)
    if name.is_absolute() or ".." in name.parts:
        name = PurePosixPath(name.name)
    return name.with_suffix(".txt")
