"""A bound on the pixels that are held at the same time, whatever the number of threads that read images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError
from retinaface_cli.formats.image_heads import read_size

MAX_PIXELS_AT_ONCE = 150_000_000
"""Pixels that are held at the same time: 450 MB as RGB, and as much again while they are converted."""

_UNKNOWN_PIXELS = 25_000_000
"""What an image is taken for whose format does not say its size at once."""


class PixelBudget:
    """What the threads of one job share, each with one image at a time; a larger image than all goes alone."""

    def __init__(self) -> None:
        self._held = 0
        self._changed = Condition()

    @contextmanager
    def hold(self, num_pixels: int) -> Iterator[None]:
        """Waits until there is room for an image, which is taken until the block ends."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + num_pixels <= MAX_PIXELS_AT_ONCE)
            self._held += num_pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_pixels
                self._changed.notify_all()


def promised_pixels(source: Source, data: bytes | None = None) -> int:
    """Pixels that the head of an image promises; 0 where it cannot be read, which its decoding will say.

    Args:
        source: the image.
        data: its bytes, where they have been read already.
    """
    try:
        size = source.read_size() if data is None else read_size(io.BytesIO(data))
    except ImageReadError:
        return 0
    return pixels_of(size)


def pixels_of(size: tuple[int, int] | None) -> int:
    """Pixels of an image of (height, width), or what stands for them where the size is not known."""
    return _UNKNOWN_PIXELS if size is None else size[0] * size[1]
