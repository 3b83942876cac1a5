"""Contact sheets: many images on one, each with a line of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from retinaface_cli.faces import Faces, RgbImage, map_points
from retinaface_cli.visualization.text import Color, Mask, paint, shorten, text_mask

_BACKGROUND = 28
_TEXT_COLOR: Color = (225, 225, 225)
_GAP = 8


def contact_sheet(
    images: Sequence[RgbImage],
    *,
    captions: Sequence[str],
    num_columns: int,
    cell_width: int,
    heading: Sequence[str] = (),
) -> RgbImage:
    """Lays images out in rows on a dark ground.

    Args:
        images: (H, W, 3) uint8 each, at most cell_width wide, at least one.
        captions: a line for each; too long ones lose their middle.
        num_columns: images a row.
        cell_width: in pixels, without the gap between images.
        heading: lines above all, broken between words where they are too long.

    Returns:
        (H, W, 3) uint8; each row is as high as its highest image.
    """
    digit_height = max(8, cell_width // 32)
    lines = [text_mask(shorten(text, cell_width, digit_height=digit_height), digit_height) for text in captions]
    cells = [_cell(image, line, cell_width) for image, line in zip(images, lines, strict=True)]
    num_columns = min(num_columns, len(cells))
    rows = [_row(cells[start : start + num_columns], num_columns) for start in range(0, len(cells), num_columns)]
    width = rows[0].shape[1]
    above = [_heading(part, width) for line in heading for part in _break(line, width, digit_height)]
    return np.pad(np.concatenate([*above, *rows]), ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_BACKGROUND)


def shrink(image: RgbImage, max_side: int) -> tuple[RgbImage, float]:
    """The image with no side longer than max_side, and the factor by which it shrank (1: not at all)."""
    height, width = image.shape[:2]
    factor = min(1.0, max_side / max(height, width))
    if factor == 1.0:
        return image, 1.0
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor  # type: ignore[return-value]


def scale_faces(faces: Faces, factor: float) -> Faces:
    """The faces of an image that was scaled by a factor."""
    return map_points(faces, lambda points: points * np.float32(factor))


def _cell(image: RgbImage, line: Mask, cell_width: int) -> RgbImage:
    """An image in the middle of its cell, its caption below it."""
    height, width = image.shape[:2]
    cell = np.full((height + line.shape[0] + _GAP // 2, cell_width, 3), _BACKGROUND, np.uint8)
    left = (cell_width - width) // 2
    cell[:height, left : left + width] = image
    paint(cell, line, left=(cell_width - line.shape[1]) // 2, top=height + _GAP // 4, color=_TEXT_COLOR)
    return cell


def _break(line: str, width: int, digit_height: int) -> Iterator[Mask]:
    """A text as lines of whole words, each of them as long as it can be."""
    words = line.split(" ")
    while words:
        count = len(words)
        while (mask := text_mask(" ".join(words[:count]), digit_height)).shape[1] > width and count > 1:
            count -= 1
        yield mask
        words = words[count:]


def _heading(line: Mask, width: int) -> RgbImage:
    """A line of text over the whole sheet."""
    strip = np.full((line.shape[0] + _GAP // 2, width, 3), _BACKGROUND, np.uint8)
    paint(strip, line[:, :width], left=0, top=_GAP // 4, color=_TEXT_COLOR)
    return strip


def _row(cells: Sequence[RgbImage], num_columns: int) -> RgbImage:
    """Cells side by side, lower ones filled up at the top, missing ones empty."""
    height = max(cell.shape[0] for cell in cells) + _GAP
    cell_width = cells[0].shape[1] + _GAP
    row = np.full((height, cell_width * num_columns, 3), _BACKGROUND, np.uint8)
    for index, cell in enumerate(cells):
        bottom = height - _GAP
        row[bottom - cell.shape[0] : bottom, index * cell_width : index * cell_width + cell.shape[1]] = cell
    return row
