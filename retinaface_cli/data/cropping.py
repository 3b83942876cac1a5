"""Where a training image is cut, and the cut itself: read, crop and resize in one go."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from retinaface_cli.data.preprocessing import REDUCTIONS
from retinaface_cli.data.sources import Source
from retinaface_cli.faces import BoolArray, FloatArray, RgbImage
from retinaface_cli.settings.data import CropSettings

_FIRST_TRIES = 16
"""Squares that are looked at before all the others are drawn; enough for most images."""

_JPEG_SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe"))
"""Only these are decoded at reduced size: for other formats it saves nothing, and TIFF then forgets its orientation."""


@dataclass(frozen=True)
class Window:
    """A square of an image that becomes the network input; it may reach past the image.

    Attributes:
        left: of its first column, in pixels of the original image.
        top: of its first row, likewise.
        side: its width and height, likewise.
    """

    left: int
    top: int
    side: int

    @classmethod
    def around(cls, image_size: tuple[int, int]) -> Window:
        """The whole image of (height, width) pixels, padded to a square at the right or the bottom."""
        return cls(0, 0, max(image_size))


@dataclass(frozen=True, eq=False)
class Cut:
    """A window of an image at network size.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        scale: (2,) network pixels per original pixel, x and y.
        offset: (2,) of the image's corner in network pixels.
        content: (4,) x_min, y_min, x_max, y_max of what shows the image, in network pixels; the rest is filled.
    """

    image: RgbImage
    scale: FloatArray
    offset: FloatArray
    content: FloatArray

    def to_network(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) of the original image in network pixels."""
        return points * self.scale + self.offset


def choose_window(
    rng: np.random.Generator, image_size: tuple[int, int], *, boxes: FloatArray, crop: CropSettings
) -> Window:
    """Draws the square that is shown of an image.

    Squares are drawn one after the other as in the old training, only many at once; the first one that shows the centre
    and enough of a face is taken. An image without faces is cut anywhere.

    Args:
        rng: source of the random numbers.
        image_size: (height, width) of the image.
        boxes: (N, 4) faces of which one must be seen, in pixels of the image.
        crop: scales, number of tries, and what must be seen.
    """
    if crop.probability <= 0 or rng.random() >= crop.probability:
        return Window.around(image_size)
    first = min(_FIRST_TRIES, crop.max_tries)
    for num_tries in (first, crop.max_tries - first):
        squares = _draw_squares(rng, image_size, scales=crop.scales, num=num_tries)
        accepted = np.flatnonzero(_shows_a_face(squares, boxes, min_visibility=crop.min_best_visibility))
        if len(accepted):
            left, top, side = squares[accepted[0]].tolist()
            return Window(left, top, side)
    return Window.around(image_size)


def cut_window(source: Source, window: Window, *, image_size: int, whole_size: tuple[int, int], fill: RgbImage) -> Cut:
    """Reads an image and cuts a window out of it at network size.

    A JPEG is decoded at reduced size where the window shrinks that much anyway.

    Args:
        source: the image.
        window: what is cut.
        image_size: side S of the result in pixels.
        whole_size: (height, width) of the upright image in pixels.
        fill: (3,) colour of what lies outside the image.

    Raises:
        ImageReadError: the image cannot be read.
    """
    whole = source.load_rgb(reduction=_reduction(source, shrinks_by=window.side / image_size))
    columns = _Span.of(window.left, window.side, original=whole_size[1], decoded=whole.shape[1], target=image_size)
    rows = _Span.of(window.top, window.side, original=whole_size[0], decoded=whole.shape[0], target=image_size)
    region = whole[rows.start : rows.stop, columns.start : columns.stop]
    resized = cv2.resize(region, (columns.length, rows.length), interpolation=cv2.INTER_LINEAR)
    if resized.shape[:2] != (image_size, image_size):
        canvas = np.empty((image_size, image_size, 3), np.uint8)
        canvas[:] = np.tile(fill, (image_size, 1))  # a whole row at once is several times faster than single pixels
        canvas[rows.place : rows.place + rows.length, columns.place : columns.place + columns.length] = resized
        resized = canvas
    content = [columns.place, rows.place, columns.place + columns.length, rows.place + rows.length]
    return Cut(
        image=resized,  # type: ignore[arg-type]
        scale=np.array([columns.scale, rows.scale], np.float32),
        offset=np.array([columns.offset, rows.offset], np.float32),
        content=np.array(content, np.float32),
    )


def _reduction(source: Source, *, shrinks_by: float) -> int:
    """The strongest reduction in decoding that leaves at least as many pixels as are needed."""
    fitting = (n for n in REDUCTIONS if shrinks_by >= n)
    return next(fitting, 1) if source.suffix in _JPEG_SUFFIXES else 1


def _draw_squares(
    rng: np.random.Generator, image_size: tuple[int, int], *, scales: tuple[float, ...], num: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """(num, 3) left, top and side of random squares: inside the image, or around it where they are larger."""
    height, width = image_size
    choices = np.maximum(1, (np.asarray(scales) * min(image_size)).astype(np.int64))
    side = choices[rng.integers(len(scales), size=num)]
    slack = np.stack([width - side, height - side], axis=-1)  # (num, 2)
    corner = rng.integers(np.minimum(slack, 0), np.maximum(slack, 0), endpoint=True)
    return np.concatenate([corner, side[:, None]], axis=-1)


def _shows_a_face(
    squares: np.ndarray[tuple[int, int], np.dtype[np.int64]], boxes: FloatArray, *, min_visibility: float
) -> BoolArray:
    """(num,) whether a square shows the centre and enough of the area of at least one face; all do without faces."""
    if min_visibility <= 0 or len(boxes) == 0:
        return np.ones(len(squares), np.bool_)
    low = squares[:, None, :2].astype(np.float32)  # (num, 1, 2)
    high = low + squares[:, None, 2:]
    overlap = np.minimum(high, boxes[:, 2:]) - np.maximum(low, boxes[:, :2])  # (num, N, 2)
    visible = np.prod(np.maximum(overlap, 0), axis=-1)  # (num, N)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)  # (N,)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    centered = np.all((low < centers) & (centers < high), axis=-1)
    # a face that is wholly inside has all of its area but for rounding
    enough = visible >= min_visibility * area * (1 - 1e-5)
    result: BoolArray = np.any(enough & centered, axis=-1)
    return result


@dataclass(frozen=True)
class _Span:
    """One axis of a cut: which decoded pixels go to which network pixels."""

    start: int
    stop: int
    place: int
    length: int
    scale: float
    offset: float

    @classmethod
    def of(cls, begin: int, side: int, *, original: int, decoded: int, target: int) -> _Span:
        """The span of a window [begin, begin + side) on an axis of `original` pixels, of which `decoded` were read."""
        reduction = decoded / original
        start = min(max(0, round(begin * reduction)), decoded - 1)
        stop = min(decoded, max(start + 1, round((begin + side) * reduction)))
        zoom = target / side
        place = min(max(0, round((start / reduction - begin) * zoom)), target - 1)
        end = min(target, max(place + 1, round((stop / reduction - begin) * zoom)))
        scale = (end - place) / (stop - start)
        return cls(start, stop, place, end - place, scale * reduction, place - start * scale)
