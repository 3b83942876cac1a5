"""The size of a picture from the head of its file, without decoding it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.errors import ImageReadError

_HEAD_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
"""Formats whose head is read; any other picture is decoded."""

_ORIENTATION_TAG = 0x0112
"""Of EXIF; values of 5 and above swap rows and columns."""

_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What stands at the end of a whole file."""

_TAIL_BYTES = 4096
"""Some cameras and editors write a few bytes behind the end mark; where it is not found here, the file is decoded."""


def read_picture_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture in pixels, upright by its EXIF orientation, as load_rgb would return it.

    Raises:
        ImageReadError: missing, no picture, or truncated.
    """
    try:
        with path.open("rb") as file:
            size = _size_from_head(file)
    except OSError as error:
        raise ImageReadError(f"{path}: {error.strerror or error}") from None
    if size is None:
        height, width = load_rgb(path).shape[:2]
        return height, width
    return size


def _size_from_head(file: BinaryIO) -> tuple[int, int] | None:
    """The size; None where only decoding can tell it, or whether the file is whole."""
    try:
        with Image.open(file, formats=_HEAD_FORMATS) as image:
            (width, height), kind = image.size, image.format or ""
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError):
        return None
    if kind != "JPEG" and orientation != 1:  # which of them are turned depends on the version of OpenCV
        return None
    mark = _END_MARKS.get(kind)
    if mark is not None:
        file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
        if mark not in file.read():
            return None
    return (width, height) if orientation in (5, 6, 7, 8) else (height, width)
