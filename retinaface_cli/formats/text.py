"""Text of label and prediction files, and single values in it, each checked with its place."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.faces import FloatArray, IntArray
from retinaface_cli.files import reading
from retinaface_cli.formats.table import Float64Array

_HEAD_BYTES = 1 << 16


def read_head(path: Path) -> bytes:
    """The first 64 KB of a file (unpacked) as UTF-8, without byte order mark and leading spaces.

    Raises:
        LabelFormatError: it cannot be read or unpacked, or is no regular file.
    """
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


def read_text(path: Path) -> str:
    """A text file, unpacked if it is gzipped.

    Raises:
        LabelFormatError: it cannot be read or unpacked, is no regular file, or too large.
    """
    return reading.read_text(path, error=LabelFormatError)


def read_utf8(path: Path) -> bytes:
    """A text file as UTF-8; see read_text."""
    return reading.read_utf8(path, error=LabelFormatError)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; only line feeds (with or without a carriage return) end one."""
    return [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        LabelFormatError: with the line; or see read_text.
    """
    return reading.read_json(path, error=LabelFormatError)


def parse_json(data: bytes, place: str) -> Any:
    """The value that JSON text stands for; `place` is named in the error.

    Raises:
        LabelFormatError: the text is no JSON.
    """
    return reading.parse_json(data, place=place, error=LabelFormatError)


def dump_json(value: object) -> bytes:
    """JSON in one line; float32 arrays print with the fewest digits that read back the same, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def number_words(values: FloatArray | Float64Array) -> list[str]:
    """The shortest text of each number that reads back the same, without a `.0`; nothing for NaN."""
    if not values.size:
        return []
    text = dump_json(np.ascontiguousarray(values).ravel()).decode("ascii")[1:-1]
    return f"{text},".replace(".0,", ",").replace("null", "")[:-1].split(",")


def shortest_decimals(values: FloatArray) -> Float64Array:
    """Float64 numbers that print as short as the float32 ones do: 58.393 for 58.39300155639648. NaN stays NaN."""
    flat: list[float | None] = orjson.loads(dump_json(np.ascontiguousarray(values).ravel()))
    return np.array(flat, np.float64).reshape(values.shape)


def decimal_boxes_xywh(boxes: FloatArray) -> Float64Array:
    """(N, 4) left, top, width and height of (N, 4) corners, such that left + width gives the same x_max in float32."""
    corners = shortest_decimals(boxes)
    sizes = corners[:, 2:] - corners[:, :2]
    short = np.round(sizes, 9)
    is_same = (corners[:, :2] + short).astype(np.float32) == boxes[:, 2:]
    return np.concatenate([corners[:, :2], np.where(is_same, short, sizes)], axis=1)


def parse_rows(rows: Sequence[tuple[int, str]], path: Path) -> tuple[Float64Array, IntArray]:
    """All numbers of numbered lines, one after the other, and how many each line has; `nan` and `inf` are numbers.

    Raises:
        LabelFormatError: the place of the first word that is no number.
    """
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
    """The number that a text stands for; `nan` and `inf` are numbers here, and are dealt with by the checks.

    Raises:
        LabelFormatError: the text is no number.
    """
    words = (text or "").strip()
    try:
        if not words.isascii() or "_" in words:
            raise ValueError
        return float(words)
    except ValueError:
        raise LabelFormatError(f"{place}: expected {what}, got {shorten(text)}") from None


def parse_count(text: str, place: str) -> int:
    """The number of faces that stands alone on a line.

    Raises:
        LabelFormatError: the text is no such number.
    """
    words = text.strip()
    if not (words.isascii() and words.isdecimal()) or len(words) > 9:
        raise LabelFormatError(f"{place}: expected the number of faces, got {shorten(words)}")
    return int(words)


def as_floats(values: object, count: int, place: str, *, what: str) -> list[float]:
    """A JSON list of so many numbers.

    Raises:
        LabelFormatError: it is anything else.
    """
    if not isinstance(values, list) or len(values) != count:
        got = f"{len(values)}" if isinstance(values, list) else shorten(values)
        raise LabelFormatError(f"{place}: expected {what}, got {got}")
    return [as_float(value, place, what=what) for value in values]


def as_float(value: object, place: str, *, what: str) -> float:
    """A JSON number.

    Raises:
        LabelFormatError: it is anything else, or too large for a float.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and not abs(value) > 1e300:  # NaN passes
        return float(value)
    raise LabelFormatError(f"{place}: expected {what}, got {shorten(value)}")


def as_size(height: object, width: object, place: str) -> tuple[int, int]:
    """Height and width of an image in whole pixels; (0, 0) where one of them is not given or 0.

    Raises:
        LabelFormatError: they are no positive whole numbers.
    """
    if height in (None, 0) or width in (None, 0):
        return 0, 0
    sizes = []
    for value in (height, width):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**31 or value % 1:
            raise LabelFormatError(
                f"{place}: expected width and height in whole pixels, got {shorten(width)} x {shorten(height)}"
            )
        sizes.append(int(value))
    return sizes[0], sizes[1]


def as_name(value: object, place: str) -> str:
    """An image's name with forward slashes and without `./` in front; see also images.leave_out_unprintable.

    Raises:
        LabelFormatError: it is no text, or empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise LabelFormatError(f"{place}: expected the name of an image, got {shorten(value)}")
    name = value.strip().replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if not name:
        raise LabelFormatError(f"{place}: expected the name of an image, got {shorten(value)}")
    return name


def as_flag(value: object, place: str, *, what: str) -> bool:
    """A mark that is true, false, 0 or 1, or absent.

    Raises:
        LabelFormatError: it is anything else.
    """
    if value is None or (isinstance(value, (bool, int, float)) and value in (0, 1)):
        return bool(value)
    raise LabelFormatError(f"{place}: {what}: expected true or false, got {shorten(value)}")
