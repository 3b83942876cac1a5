"""Lines of text as masks, in a font that comes with matplotlib and so is on every machine."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Mask = npt.NDArray[np.uint8]
"""(h, w), 255 where there is ink."""

Color = tuple[int, int, int]
"""Red, green, blue in [0, 255]."""

_DIGIT_PART = 0.73
"""Height of a digit in DejaVu Sans as part of the font's size."""


@lru_cache(maxsize=1024)
def text_mask(text: str, digit_height: int) -> Mask:
    """One line of text.

    Args:
        text: what to write; characters that the font lacks become boxes.
        digit_height: of a digit, in pixels.

    Returns:
        (h, w) mask from the font's highest ascender to its lowest descender.
    """
    font = _font(digit_height)
    ascent, descent = font.getmetrics()
    line = Image.new("L", (max(1, math.ceil(font.getlength(text))), ascent + descent))
    ImageDraw.Draw(line).text((0, 0), text, fill=255, font=font)
    mask = np.asarray(line)
    mask.flags.writeable = False
    return mask


def trimmed(mask: Mask) -> Mask:
    """The mask without empty rows above and below its ink."""
    rows = np.flatnonzero(mask.any(axis=1))
    return mask[rows[0] : rows[-1] + 1] if len(rows) else mask[:0]


def shorten(text: str, width: int, *, digit_height: int) -> str:
    """The text with its middle left out, so that it is at most `width` pixels wide; the end keeps the larger part."""
    font = _font(digit_height)
    if font.getlength(text) <= width:
        return text
    for num_kept in range(len(text) - 1, 1, -1):
        num_start = num_kept // 3
        candidate = f"{text[:num_start]}…{text[len(text) - num_kept + num_start :]}"
        if font.getlength(candidate) <= width:
            return candidate
    return "…"


def paint(canvas: npt.NDArray[np.uint8], mask: Mask, *, left: int, top: int, color: Color) -> None:
    """Lays a color through a mask onto a canvas (H, W, 3), in place; what falls outside is cut off."""
    height, width = canvas.shape[:2]
    rows = slice(max(0, top), min(height, top + mask.shape[0]))
    columns = slice(max(0, left), min(width, left + mask.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    ink = mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, None] / np.float32(255)
    region = canvas[rows, columns]
    canvas[rows, columns] = np.rint(region + (np.array(color, np.float32) - region) * ink).astype(np.uint8)


@lru_cache(maxsize=64)
def _font(digit_height: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), max(1, round(digit_height / _DIGIT_PART)))
