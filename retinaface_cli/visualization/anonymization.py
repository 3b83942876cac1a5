"""Faces made unrecognisable."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import FloatArray

AnonymizationMethod = Literal["blur", "pixelate"]

_MARGIN = 0.15
"""Part of the box's width and height that is hidden beyond it on each side: chin, ears, hair line."""

_MAX_CELLS = 6
"""Cells that are left of the longer side of a face; blurred faces carry no more than pixelated ones."""

_MIN_CELL_PIXELS = 4


def anonymize_faces(
    image: npt.NDArray[np.uint8], boxes: FloatArray, *, method: AnonymizationMethod
) -> npt.NDArray[np.uint8]:
    """Hides faces on a copy of the picture, so that they cannot be restored from it.

    Either way a face is first averaged over at most six by six cells, and only these means are drawn: as squares
    (pixelate) or as a smooth patch (blur).

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels of the picture; a margin is added.
        method: "blur" or "pixelate".
    """
    hidden = np.array(image, order="C")
    height, width = image.shape[:2]
    finite = boxes[np.flatnonzero(np.isfinite(boxes.sum(axis=1)))]
    sizes = finite[:, 2:] - finite[:, :2]
    low = np.floor(np.clip(finite[:, :2] - _MARGIN * sizes, 0, [width, height])).astype(int)
    high = np.ceil(np.clip(finite[:, 2:] + _MARGIN * sizes, 0, [width, height])).astype(int)
    for (left, top), (right, bottom) in zip(low.tolist(), high.tolist(), strict=True):
        if right > left and bottom > top:
            region = hidden[top:bottom, left:right]
            hidden[top:bottom, left:right] = _coarsened(region, method)
    return hidden


def _coarsened(region: npt.NDArray[np.uint8], method: AnonymizationMethod) -> npt.NDArray[np.uint8]:
    """The region with no more detail than its cells' means."""
    height, width = region.shape[:2]
    cell = max(max(height, width) / _MAX_CELLS, _MIN_CELL_PIXELS)
    num_cells = (math.ceil(width / cell), math.ceil(height / cell))
    means = cv2.resize(region, num_cells, interpolation=cv2.INTER_AREA)
    enlargement = cv2.INTER_NEAREST if method == "pixelate" else cv2.INTER_CUBIC
    return cv2.resize(means, (width, height), interpolation=enlargement)  # type: ignore[return-value]
