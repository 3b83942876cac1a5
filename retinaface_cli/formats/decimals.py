"""Numbers as short text that reads back to exactly the same float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.face_table import Float64Array

_MAX_DECIMALS = 9


def shortest_decimals(values: FloatArray) -> Float64Array:
    """Float64 numbers with the fewest decimals that round to the given float32, so that they print short.

    58.393 that was stored as float32 (58.39300155639648) becomes 58.393 again. NaN stays NaN.
    """
    exact = values.astype(np.float64)
    result = np.rint(exact)
    open_index = np.flatnonzero((result.astype(np.float32) != values).ravel())
    flat, single, double = result.reshape(-1), values.reshape(-1), exact.reshape(-1)
    for decimals in range(1, _MAX_DECIMALS + 1):
        if not len(open_index):
            break
        candidates = np.round(double[open_index], decimals)
        flat[open_index] = candidates
        open_index = open_index[candidates.astype(np.float32) != single[open_index]]
    flat[open_index] = [float(np.format_float_scientific(value, unique=True)) for value in single[open_index]]
    return result


def number_words(values: npt.NDArray[np.float64]) -> list[str]:
    """The shortest text of each number, whole numbers without a decimal point; no value may be NaN."""
    if not values.size:
        return []
    text = to_json(values.ravel().tolist()).decode("ascii")
    return (text[1:-1] + ",").replace(".0,", ",")[:-1].split(",")


def decimal_boxes_xywh(boxes: FloatArray) -> Float64Array:
    """(N, 4) left, top, width and height of (N, 4) corners, such that left + width gives the same x_max in float32."""
    corners = shortest_decimals(boxes)
    sizes = corners[:, 2:] - corners[:, :2]
    short = np.round(sizes, _MAX_DECIMALS)
    is_same = (corners[:, :2] + short).astype(np.float32) == boxes[:, 2:]
    return np.concatenate([corners[:, :2], np.where(is_same, short, sizes)], axis=1)
