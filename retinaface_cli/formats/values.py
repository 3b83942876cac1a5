"""Single values of label files: numbers and names, each checked with its place."""

from __future__ import annotations

import re
from pathlib import Path

from retinaface_cli.errors import LabelFormatError

_BAD_LETTERS = re.compile("[\x00-\x1f\ud800-\udfff]")
"""Control characters, and what stands for bytes that are not UTF-8."""


def shorten(value: object) -> str:
    """A value as text for a message, cut to a readable length."""
    text = repr(value)
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
        LabelFormatError: it is no text, empty, of several lines, or not UTF-8.
    """
    if not isinstance(value, str) or not value.strip():
        raise LabelFormatError(f"{place}: expected the name of an image, got {shorten(value)}")
    name = value.strip().replace("\\", "/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    if not name or _BAD_LETTERS.search(name):
        raise LabelFormatError(
            f"{place}: expected the name of an image on one line of UTF-8 text, got {shorten(value)}"
        )
    return name


def read_text(path: Path, data: bytes) -> str:
    """UTF-8 text of a file.

    Raises:
        LabelFormatError: a byte is not UTF-8; the message names its line.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LabelFormatError(f"{path}:{line}: expected UTF-8 text, got byte {data[error.start]:#04x}") from None
