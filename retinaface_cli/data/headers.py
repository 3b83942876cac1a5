"""The size of an image from the head of its file, and whether the file is whole, without decoding it."""

from __future__ import annotations

import os
from typing import BinaryIO

from retinaface_cli.data.pixel_budget import PixelBudget, pixels_of
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError
from retinaface_cli.formats.image_heads import read_size

_JPEG, _PNG, _WEBP, _BMP = b"\xff\xd8", b"\x89PNG", b"RIFF", b"BM"
"""First bytes of the formats whose end is known; other images are decoded."""

_TAIL_BYTES = 4096
"""Some cameras and editors write a few bytes behind the end mark; where it is not found here, the file is decoded."""


def read_image_size(source: Source, budget: PixelBudget) -> tuple[int, int]:
    """(height, width) of an image in pixels, upright by its EXIF orientation, as it would be decoded.

    Args:
        source: the image.
        budget: of all threads that call this, for images that must be decoded.

    Raises:
        ImageReadError: missing, no image, or truncated.
    """
    with source.open() as file:
        size = read_size(file)
        if _is_whole(file, source.place) and size is not None:
            return size
    with budget.hold(pixels_of(size)):
        height, width = source.load_rgb().shape[:2]
    return height, width


def _is_whole(file: BinaryIO, place: str) -> bool:
    """Whether the file is of a format whose end is known, and ends so.

    Raises:
        ImageReadError: a JPEG has no end; a decoder would fill the rest with grey.
    """
    file.seek(0)
    start = file.read(54)
    length = file.seek(0, os.SEEK_END)
    file.seek(-min(_TAIL_BYTES, length), os.SEEK_END)
    tail = file.read()
    if start.startswith(_JPEG):
        scan = _find_scan(file)
        if scan is None or b"\xff\xd9" in tail[max(0, scan - length + len(tail)) :]:
            return scan is not None
        file.seek(scan)
        if b"\xff\xd9" not in file.read():
            raise ImageReadError(f"{place}: the JPEG is truncated ({length} bytes)")
        return False
    if start.startswith(_PNG):
        return b"IEND" in tail
    if start.startswith(_WEBP):
        return int.from_bytes(start[4:8], "little") + 8 <= length
    return start.startswith(_BMP) and _bmp_length(start) <= length


def _find_scan(file: BinaryIO) -> int | None:
    """Where the compressed pixels of a JPEG begin, behind all embedded previews; None where its segments are broken."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        if head[1] == 0xDA:  # start of scan
            return position
        position += 1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:], "big")


def _bmp_length(head: bytes) -> int:
    """The length of a BMP from its head (54 bytes), in bytes: as it says itself, and what uncompressed pixels take."""
    if len(head) < 54:
        return 54
    stated, offset = (int.from_bytes(head[i : i + 4], "little") for i in (2, 10))
    width, height = (abs(int.from_bytes(head[i : i + 4], "little", signed=True)) for i in (18, 22))
    bits, compression = int.from_bytes(head[28:30], "little"), int.from_bytes(head[30:34], "little")
    pixels = 0 if compression in (1, 2) else (width * bits + 31) // 32 * 4 * height
    return max(stated, offset + pixels)
