"""Width, height and orientation of images from the first bytes of their files."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from retinaface_cli.errors import FileReadError
from retinaface_cli.files.reading import open_regular

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION_TAG = 0x0112
_TURNED = (5, 6, 7, 8)
"""EXIF orientations by which width and height change places."""

_UPRIGHT_FORMATS = ("TIFF",)
"""Formats that decoders turn by themselves, and whose size they give as turned."""

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG segments that begin a frame and hold its size: SOF0 to SOF15 without DHT, JPG and DAC."""

_JPEG_START = b"\xff\xd8"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_EXIF_START = b"Exif\0\0"
_MAX_EXIF_BYTES = 1 << 20
_MAX_CHUNKS = 1 << 16
"""Chunks of a PNG that are looked at."""

_SHORT, _LONG = 3, 4
"""Types of numbers in EXIF; some cameras write the orientation as a LONG."""

_PILLOW_BOUND = Lock()


class ImageHead(NamedTuple):
    """What stands before the pixels of an image.

    Attributes:
        stored_size: (height, width) as the pixels are stored.
        orientation: of EXIF, 1 to 8, by which they are to be turned; 1: they are upright.
    """

    stored_size: tuple[int, int]
    orientation: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the upright image."""
        height, width = self.stored_size
        return (width, height) if self.orientation in _TURNED else (height, width)


def measure_file(path: Path) -> tuple[int, int] | None:
    """(height, width) of an image file; (0, 0) if it is no image or its head is broken, None if it cannot be opened."""
    try:
        with open_regular(path) as file:
            return read_size(file) or (0, 0)
    except FileReadError:
        return None


def read_size(file: BinaryIO) -> tuple[int, int] | None:
    """(height, width) of an image in an open file, upright; None if it is no image or its head is broken."""
    head = read_head(file)
    return None if head is None else head.size


def read_head(file: BinaryIO) -> ImageHead | None:
    """The head of an image in an open file, without decoding it; None if it is no image or its head is broken."""
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        head = _read_png(file)
    elif start[:2] == _JPEG_START:
        file.seek(len(_JPEG_START))
        head = _read_jpeg(file)
    else:
        head = None
    return head or _read_other(file)


def _read_jpeg(file: BinaryIO) -> ImageHead | None:
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
            return ImageHead((height, width), orientation) if height and width else None
        if head[1] == 0xE1:
            segment = file.read(length)
            orientation = _exif_orientation(segment) if segment[:6] == _EXIF_START and orientation == 1 else orientation
        else:
            file.seek(length, 1)


def _read_png(file: BinaryIO) -> ImageHead | None:
    """Walks the chunks of a PNG, behind its first eight bytes; Pillow would decode all pixels, to look behind them."""
    size, orientation = (0, 0), 1
    for _ in range(_MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            break
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IHDR", b"eXIf"):
            data = file.read(min(length, _MAX_EXIF_BYTES))
            length -= len(data)
            if kind == b"eXIf":
                orientation = _exif_orientation(_EXIF_START + data)
            elif len(data) >= 8:
                width, height = struct.unpack_from(">II", data)
                size = height, width
        file.seek(length + 4, 1)  # a checksum ends each chunk
    return ImageHead(size, orientation) if all(size) else None


def _exif_orientation(segment: bytes) -> int:
    """The orientation of an EXIF segment, 1 if it has none or is broken."""
    order = ">" if segment[6:8] == b"MM" else "<"
    tiff = segment[6:]
    try:
        (offset,) = struct.unpack_from(f"{order}I", tiff, 4)
        (num_entries,) = struct.unpack_from(f"{order}H", tiff, offset)
        for i in range(num_entries):
            at = offset + 2 + 12 * i
            tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == _ORIENTATION_TAG and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, at + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _read_other(file: BinaryIO) -> ImageHead | None:
    """Any other image, by Pillow, which decodes no pixels."""
    from PIL import Image  # seldom needed, and slow to import

    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and odd metadata; the size is all that counts
            try:
                image: Image.Image = Image.open(file)
            except Image.DecompressionBombError:
                image = _open_large(file)
            with image:
                width, height = image.size
                orientation = 1 if image.format in _UPRIGHT_FORMATS else _pillow_orientation(image)
    except Exception:  # of any kind: each decoder of Pillow has its own for broken files
        return None
    return ImageHead((height, width), orientation)


def _open_large(file: BinaryIO) -> Image.Image:
    """An image of more pixels than Pillow opens: for a moment it has no such bound, which is for those who decode."""
    from PIL import Image

    file.seek(0)
    with _PILLOW_BOUND:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _pillow_orientation(image: Image.Image) -> int:
    """The orientation as Pillow reads it; that of AVIF is its own, in terms of EXIF."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # see _read_other
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
