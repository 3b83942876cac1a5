"""Faces drawn on images: boxes, the five points, scores.

Lines and text grow with the image and shrink with the face, and carry a dark rim, so that they can be seen on dark
and bright images, small and large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import NUM_LANDMARKS, BoolArray, FaceDetections, FaceLabels, FloatArray, RgbImage
from retinaface_cli.visualization.text import Color, paint, text_mask, trimmed

Bars = list[tuple[int, int, int, int]]
"""Filled rectangles: left, top, right, bottom in whole pixels, right and bottom not included."""

_SHIFT = 4
"""OpenCV draws at positions in units of 1 / 2^_SHIFT pixels."""

_RIM_OPACITY = 0.55
_MIN_DIGIT_HEIGHT = 8
_BLACK = (0, 0, 0)


@dataclass(frozen=True)
class DrawStyle:
    """How faces look; None for a size: it follows from the image and the face.

    Attributes:
        color: of boxes and score tags.
        point_colors: of the five points, in the order of LANDMARK_NAMES.
        line_width: of boxes, in pixels.
        point_radius: of points, in pixels.
        is_outer: whether lines lie around the place of a line with this box, and points are larger, so that these
            faces show around others in the same place.
        has_rim: whether lines and points get a dark rim.
        has_landmarks: whether the five points are drawn.
        has_scores: whether scores of detections are written.
    """

    color: Color
    point_colors: tuple[Color, Color, Color, Color, Color] = (
        (255, 72, 72),
        (64, 156, 255),
        (255, 226, 52),
        (255, 130, 230),
        (70, 226, 120),
    )
    line_width: int | None = None
    point_radius: float | None = None
    is_outer: bool = False
    has_rim: bool = True
    has_landmarks: bool = True
    has_scores: bool = True


LABEL_STYLE = DrawStyle(color=(86, 200, 255))
"""True faces: blue."""

OUTER_LABEL_STYLE = replace(LABEL_STYLE, is_outer=True)
"""True faces under detections that are to be drawn on the same image."""

PREDICTION_STYLE = DrawStyle(color=(255, 176, 0))
"""Detected faces: orange, which people of every colour vision tell from the blue."""

CLASSIC_STYLE = DrawStyle(
    color=(0, 255, 0),
    point_colors=((255, 0, 0), (128, 255, 0), (255, 178, 102), (102, 128, 255), (0, 255, 255)),
    line_width=2,
    point_radius=4.5,
    has_rim=False,
    has_scores=False,
)
"""The images of the older tools: green boxes of 2 pixels, five coloured dots, no scores."""


class _Sizes(NamedTuple):
    """Sizes in pixels, (N,) each."""

    line_widths: npt.NDArray[np.intp]
    point_radii: FloatArray
    digit_heights: npt.NDArray[np.intp]


def draw_faces(image: RgbImage, faces: FaceLabels | FaceDetections, *, style: DrawStyle | None = None) -> RgbImage:
    """Draws faces on a copy of the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: in pixels of the image; ignored ones get a dashed box, missing points are left out.
        style: None: LABEL_STYLE for labels, PREDICTION_STYLE for detections.

    Returns:
        (H, W, 3) uint8 RGB. A score stands where there is room beside its box; those without room are left out.
    """
    style = style or (LABEL_STYLE if isinstance(faces, FaceLabels) else PREDICTION_STYLE)
    faces = faces.select(np.flatnonzero(np.isfinite(faces.boxes.sum(axis=1))))
    canvas = np.array(image, order="C")
    sizes = _choose_sizes(faces.boxes, (image.shape[0], image.shape[1]), style)
    is_dashed = faces.ignore if isinstance(faces, FaceLabels) else np.zeros(len(faces), np.bool_)
    _draw_boxes(canvas, faces.boxes, is_dashed, sizes, style)
    if style.has_landmarks:
        _draw_points(canvas, faces.landmarks, sizes, style)
    if style.has_scores and isinstance(faces, FaceDetections):
        _draw_scores(canvas, faces, sizes, style)
    return canvas


def _choose_sizes(boxes: FloatArray, image_size: tuple[int, int], style: DrawStyle) -> _Sizes:
    """Sizes that suit the image, cut down where they would bury a small face."""
    longest = max(image_size)
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)).astype(np.float32)
    line_widths = np.clip(np.rint(np.minimum(longest / 500, sides / 14)), 1, None).astype(np.intp)
    point_radii = (1.4 if style.is_outer else 1.0) * np.clip(0.035 * sides, 0.6, max(1.5, longest / 320))
    digit_heights = np.clip(np.rint(np.minimum(longest / 75, 0.3 * sides)), _MIN_DIGIT_HEIGHT, None).astype(np.intp)
    if style.line_width is not None:
        line_widths[:] = style.line_width
    if style.point_radius is not None:
        point_radii[:] = style.point_radius
    return _Sizes(line_widths, point_radii, digit_heights)


def _draw_boxes(canvas: RgbImage, boxes: FloatArray, is_dashed: BoolArray, sizes: _Sizes, style: DrawStyle) -> None:
    """All rims first, half transparent, then all lines, so that no rim covers another face's line."""
    widths = sizes.line_widths.tolist()
    corners = boxes
    if style.is_outer:
        outsets = np.array([width + _rim_width(width) for width in widths], np.float32)
        corners = boxes + outsets[:, None] * np.array([-1, -1, 1, 1], np.float32)
    bars = [
        _dashed_bars(box, width) if dashed else _solid_bars(box, width)
        for box, dashed, width in zip(_bounded(corners, canvas).tolist(), is_dashed.tolist(), widths, strict=True)
    ]
    if style.has_rim:
        rims = canvas.copy()
        for box_bars, width in zip(bars, widths, strict=True):
            _fill(rims, box_bars, _BLACK, growth=_rim_width(width))
        cv2.addWeighted(rims, _RIM_OPACITY, canvas, 1 - _RIM_OPACITY, 0, dst=canvas)
    for box_bars in reversed(bars):
        _fill(canvas, box_bars, style.color)


def _draw_points(canvas: RgbImage, landmarks: FloatArray, sizes: _Sizes, style: DrawStyle) -> None:
    """The known points, each with a rim in the color of its box, so that it is seen whose they are."""
    radii = np.repeat(sizes.point_radii, NUM_LANDMARKS)
    colors = style.point_colors * len(landmarks)
    points = landmarks.reshape(-1, 2)
    is_known = np.isfinite(points[:, 0]) & np.isfinite(points[:, 1])
    centers = _to_fixed(_bounded(np.where(is_known[:, None], points, 0), canvas))
    for index in np.flatnonzero(is_known)[::-1].tolist():
        x, y = centers[index].tolist()
        radius = float(radii[index])
        if style.has_rim:
            rim = radius + max(0.6, 0.3 * radius)
            cv2.circle(canvas, (x, y), round(rim * (1 << _SHIFT)), style.color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, (x, y), round(radius * (1 << _SHIFT)), colors[index], cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _draw_scores(canvas: RgbImage, faces: FaceDetections, sizes: _Sizes, style: DrawStyle) -> None:
    """A tag with the score at each box, best first, where it covers no other tag and lies in the image."""
    height, width = canvas.shape[:2]
    taken = np.zeros((0, 4), np.float32)
    for box, score, digit_height, line_width in zip(
        faces.boxes.tolist(),
        faces.scores.tolist(),
        sizes.digit_heights.tolist(),
        sizes.line_widths.tolist(),
        strict=True,
    ):
        mask = trimmed(text_mask(f"{score:.2f}", digit_height))
        padding = max(1, digit_height // 4)
        tag_size = (mask.shape[1] + 2 * padding, mask.shape[0] + 2 * padding)
        place = _find_place(box, tag_size, gap=line_width // 2, image_size=(height, width), taken=taken)
        if place is None:
            continue
        left, top = place
        tag = np.array([[left, top, left + tag_size[0], top + tag_size[1]]], np.float32)
        taken = np.concatenate([taken, tag])
        canvas[top : top + tag_size[1], left : left + tag_size[0]] = style.color
        paint(canvas, mask, left=left + padding, top=top + padding, color=_BLACK)


def _find_place(
    box: Sequence[float],
    tag_size: tuple[int, int],
    *,
    gap: int,
    image_size: tuple[int, int],
    taken: FloatArray,
) -> tuple[int, int] | None:
    """Left and top of a tag of (width, height): above the box, else below, else inside it; None if all is taken."""
    (width, height), (image_height, image_width) = tag_size, image_size
    left = max(0, min(round(box[0]) - gap, image_width - width))
    tops = [round(box[1]) - gap - height, round(box[3]) + gap, round(box[1]) + gap]
    for top in tops:
        if left + width > image_width or top < 0 or top + height > image_height:
            continue
        overlaps = (
            (taken[:, 0] < left + width) & (taken[:, 2] > left) & (taken[:, 1] < top + height) & (taken[:, 3] > top)
        )
        if not overlaps.any():
            return left, top
    return None


def _rim_width(line_width: int) -> int:
    """Pixels of rim on either side of a line."""
    return max(1, round(0.4 * line_width))


def _bounded(points: FloatArray, canvas: RgbImage) -> FloatArray:
    """Coordinates x, y, x, y, ... kept within an image length of the image: OpenCV holds them as integers."""
    longest = max(canvas.shape[:2])
    return np.clip(points, -longest, 2 * longest).astype(np.float32)


def _solid_bars(box: Sequence[float], width: int) -> Bars:
    """The four sides of a box as bars with the box's edge along their middle, on whole pixels so they are sharp."""
    left, top = (math.floor(value - width / 2 + 0.5) for value in box[:2])
    right, bottom = (math.ceil(value + width / 2 - 0.5) for value in box[2:])
    return [
        (left, top, right, top + width),
        (left, bottom - width, right, bottom),
        (left, top, left + width, bottom),
        (right - width, top, right, bottom),
    ]


def _dashed_bars(box: Sequence[float], width: int) -> Bars:
    """The sides as dashes and gaps about four times as long as wide; every side begins and ends with a dash."""
    dashes: Bars = []
    for left, top, right, bottom in _solid_bars(box, width):
        is_flat = right - left > bottom - top
        start, end = (left, right) if is_flat else (top, bottom)
        num_dashes = max(1, round(((end - start) / (4 * width) + 1) / 2))
        cuts = np.rint(np.linspace(start, end, 2 * num_dashes)).astype(int).tolist()
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            dashes.append((first, top, last, bottom) if is_flat else (left, first, right, last))
    return dashes


def _fill(canvas: RgbImage, bars: Bars, color: Color, *, growth: int = 0) -> None:
    """Fills bars, grown by some pixels on each side."""
    for left, top, right, bottom in bars:
        rows = slice(max(0, top - growth), max(0, bottom + growth))
        canvas[rows, max(0, left - growth) : max(0, right + growth)] = color


def _to_fixed(points: FloatArray) -> npt.NDArray[np.int32]:
    """Continuous pixels to OpenCV's units, in which whole numbers are the middles of pixels."""
    fixed: npt.NDArray[np.int32] = np.rint((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
    return fixed
