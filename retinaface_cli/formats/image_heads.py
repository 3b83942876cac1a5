"""Width and height of images from the first bytes of their files, upright by the EXIF orientation."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)
"""EXIF orientations by which width and height change places."""

_TURNING_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
"""Formats whose orientation OpenCV honours when it decodes, and Pillow does not when it tells the size."""

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG segments that begin a frame and hold its size: SOF0 to SOF15 without DHT, JPG and DAC."""


def read_size_from_head(path: Path) -> tuple[int, int] | None:
    """(height, width) of an image in pixels; None if it is no image or its head is broken.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(2)
        size = _read_jpeg(file) if start == b"\xff\xd8" else None
        return size or _read_other(file)


def count_pixels(data: bytes) -> int | None:
    """Pixels that the head of a JPEG or PNG file promises, without decoding it; None for other or broken files."""
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return int(width * height)
    if data.startswith(b"\xff\xd8"):
        file = io.BytesIO(data)
        file.seek(2)
        size = _read_jpeg(file)
        return None if size is None else size[0] * size[1]
    return None


def _read_jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """Walks the segments of a JPEG up to its frame, behind the first two bytes."""
    orientation = 1
    while True:
        head = file.read(4)
        length = int.from_bytes(head[2:], "big") - 2
        if len(head) < 4 or head[0] != 0xFF or not 0xC0 <= head[1] < 0xFF or length < 0:
            return None
        if head[1] in _FRAME_MARKERS:
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack(">HH", frame[1:])
            if not (height and width):
                return None
            return (width, height) if orientation in _TURNED else (height, width)
        if head[1] == 0xE1:
            segment = file.read(length)
            orientation = _exif_orientation(segment) if segment[:6] == b"Exif\0\0" and orientation == 1 else orientation
        else:
            file.seek(length, 1)


def _exif_orientation(segment: bytes) -> int:
    """The orientation of an EXIF segment, 1 if it has none or is broken."""
    order = ">" if segment[6:8] == b"MM" else "<"
    tiff = segment[6:]
    try:
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", tiff, offset)
        for i in range(num_entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, offset + 2 + 12 * i)
            if tag == _ORIENTATION_TAG and kind == 3:
                return int(value)
    except struct.error:
        return 1
    return 1


def _read_other(file: BinaryIO) -> tuple[int, int] | None:
    """Any other image, by Pillow, which decodes nothing here."""
    from PIL import Image, UnidentifiedImageError  # seldom needed, and slow to import

    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and odd metadata; the size is all that counts
            with Image.open(file) as image:
                width, height = image.size
                turned = image.format in _TURNING_FORMATS and image.getexif().get(_ORIENTATION_TAG, 1) in _TURNED
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError, struct.error):
        return None
    return (width, height) if turned else (height, width)
