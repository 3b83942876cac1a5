"""The size of an image from the head of its file, and whether the file is whole, without decoding it."""

from __future__ import annotations

import os
from pathlib import Path

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.errors import ImageReadError
from retinaface_cli.formats.image_heads import read_size_from_head

_END_MARKS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND", b"RIFF": b"", b"BM": b""}
"""First bytes of JPEG, PNG, WebP and BMP, and what stands at the end of a whole file; other images are decoded."""

_TAIL_BYTES = 4096
"""Some cameras and editors write a few bytes behind the end mark; where it is not found here, the file is decoded."""


def read_image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in pixels, upright by its EXIF orientation, as load_rgb would return it.

    Raises:
        ImageReadError: missing, no image, or truncated.
    """
    try:
        size = read_size_from_head(path) if _is_whole(path) else None
    except OSError as error:
        raise ImageReadError(f"{path}: {error.strerror or error}") from None
    if size is None:
        height, width = load_rgb(path).shape[:2]
        return height, width
    return size


def _is_whole(path: Path) -> bool:
    """Whether the file begins and ends like an image of a known format."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
        tail = file.read()
    return any(start.startswith(first) and last in tail for first, last in _END_MARKS.items())
