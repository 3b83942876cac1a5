"""Faces made unrecognisable."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from retinaface_cli.faces import FloatArray, RgbImage

AnonymizationMethod = Literal["blur", "pixelate"]

_MARGIN = 0.2
"""Part of the box's width and height that is hidden beyond it on each side: chin, ears, hair line."""

_FADING_PART = 0.07
"""Part of the hidden region's side, well inside the margin, over which a blurred patch fades into the image."""

_MAX_CELLS = 6
"""Cells that are left of the longer side of a face; blurred faces carry no more than pixelated ones."""

_MIN_CELL_PIXELS = 4


def anonymize_faces(image: RgbImage, boxes: FloatArray, *, method: AnonymizationMethod) -> RgbImage:
    """Hides faces on a copy of the image, so that they cannot be restored from it.

    Either way a face is first averaged over at most six by six cells, and only these means are drawn: as squares
    (pixelate) or as a smooth patch (blur).

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels of the image; a margin is added.
        method: "blur" or "pixelate".
    """
    hidden = np.array(image, order="C")
    height, width = image.shape[:2]
    finite = boxes[np.flatnonzero(np.isfinite(boxes.sum(axis=1)))]
    margins = _MARGIN * (finite[:, 2:] - finite[:, :2])
    for x1, y1, x2, y2 in np.concatenate([finite[:, :2] - margins, finite[:, 2:] + margins], axis=1).tolist():
        left, right = max(0, math.floor(x1)), min(width, math.ceil(x2))
        top, bottom = max(0, math.floor(y1)), min(height, math.ceil(y2))
        if min(right - left, bottom - top, x2 - x1, y2 - y1) <= 0:
            continue
        region = hidden[top:bottom, left:right]
        patch = _coarsened(region, method)
        if method == "blur":
            opacity = _opacity(range(top, bottom), y1, y2)[:, None] * _opacity(range(left, right), x1, x2)
            patch = _mixed(patch, region, opacity)
        hidden[top:bottom, left:right] = patch
    return hidden


def _coarsened(region: RgbImage, method: AnonymizationMethod) -> RgbImage:
    """The region with no more detail than its cells' means."""
    height, width = region.shape[:2]
    cell = max(max(height, width) / _MAX_CELLS, _MIN_CELL_PIXELS)
    num_cells = (math.ceil(width / cell), math.ceil(height / cell))
    means = cv2.resize(region, num_cells, interpolation=cv2.INTER_AREA)
    enlargement = cv2.INTER_NEAREST if method == "pixelate" else cv2.INTER_CUBIC
    return cv2.resize(means, (width, height), interpolation=enlargement)  # type: ignore[return-value]


def _opacity(pixels: range, low: float, high: float) -> FloatArray:
    """Opacity of pixels of one axis: rising from both ends of what is hidden, also where the image cuts it off.

    Were it to rise from the image's border, a face that the border cuts would show there.
    """
    positions = (np.array(pixels, np.float32) + 0.5 - low) / (high - low)
    rising: FloatArray = np.clip(np.minimum(positions, 1 - positions) / _FADING_PART, 0, 1).astype(np.float32)
    return rising


def _mixed(patch: RgbImage, region: RgbImage, opacity: FloatArray) -> RgbImage:
    """The patch (h, w, 3) over the region with an opacity (h, w)."""
    mixed = region + (patch.astype(np.float32) - region) * opacity[:, :, None]
    rounded: RgbImage = np.rint(mixed).astype(np.uint8)
    return rounded
