"""Text of label and prediction files, and single values in it, each checked with its place."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FloatArray
from retinaface_cli.files.reading import read_file, read_head
from retinaface_cli.formats.table import Float64Array

_BAD_LETTERS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what stands for bytes that are not UTF-8."""

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MAX_NAME = 4096
_HEAD_BYTES = 1 << 16


def read_bytes(path: Path) -> bytes:
    """The content of a file as UTF-8, unpacked if it is gzipped, without a byte order mark.

    Raises:
        LabelFormatError: the file cannot be read or unpacked, is no regular file, or too large.
    """
    try:
        return _as_utf8(read_file(path))
    except (OSError, ValueError) as error:
        raise LabelFormatError(f"{path}: cannot be read: {_reason(error)}") from None


def read_start(path: Path) -> bytes:
    """The first 64 KB of a file (unpacked), without byte order mark and leading spaces.

    Raises:
        LabelFormatError: as read_bytes.
    """
    try:
        return _as_utf8(read_head(path, _HEAD_BYTES)).lstrip()
    except (OSError, ValueError) as error:
        raise LabelFormatError(f"{path}: cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _as_utf8(data: bytes) -> bytes:
    """The data without a byte order mark, recoded where that says UTF-16."""
    if data.startswith(_UTF16_MARKS):
        return data.decode("utf-16", errors="replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def read_text(path: Path) -> str:
    """UTF-8 text of a file.

    Raises:
        LabelFormatError: a byte is not UTF-8 (the message names its line), or see read_bytes.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelFormatError(f"{path}:{line}: expected UTF-8 text, got byte {data[error.start]:#04x}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file; only line feeds (with or without a carriage return) end one."""
    return [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]


def parse_json(data: bytes, place: str) -> Any:
    """The value that JSON text stands for; `NaN` and lone surrogates are let through to the checks.

    Raises:
        LabelFormatError: the text is no JSON, or nested too deeply.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        reason = f"not valid JSON: {shorten(str(error))}"
    raise LabelFormatError(f"{place}: {reason}")


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


def parse_rows(rows: Sequence[tuple[int, str]], path: Path) -> tuple[Float64Array, np.ndarray[Any, np.dtype[np.intp]]]:
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
    """A value as text for a message, cut to a readable length before it is formatted."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 58 else f"{value[:55]!r}..."
    if isinstance(value, (list, dict, tuple, set)):
        return f"a {type(value).__name__} of {len(value)}" if len(value) > 8 else _cut(_inner_text(value))
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of more than 60 digits"
    return _cut(repr(value))


def _inner_text(value: list[Any] | dict[Any, Any] | tuple[Any, ...] | set[Any]) -> str:
    """A short container; what is inside of its members is not shown."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{shorten(k)}: {_leaf(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(_leaf(v) for v in value) + "]"


def _leaf(value: object) -> str:
    return "..." if isinstance(value, (list, dict, tuple, set)) and value else shorten(value)


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


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
    """An image's name with forward slashes and without `./` in front.

    Raises:
        LabelFormatError: it is no text, empty, too long, of several lines, or not UTF-8.
    """
    if not isinstance(value, str) or not value.strip():
        raise LabelFormatError(f"{place}: expected the name of an image, got {shorten(value)}")
    name = value.strip().replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if not name or len(name) > _MAX_NAME or _BAD_LETTERS.search(name):
        raise LabelFormatError(
            f"{place}: expected the name of an image on one line of UTF-8 text, got {shorten(value)}"
        )
    return name


def as_flag(value: object, place: str, *, what: str) -> bool:
    """A mark that is true, false, 0 or 1, or absent.

    Raises:
        LabelFormatError: it is anything else.
    """
    if value is None or (isinstance(value, (bool, int, float)) and value in (0, 1)):
        return bool(value)
    raise LabelFormatError(f"{place}: {what}: expected true or false, got {shorten(value)}")
