"""Faces drawn on pictures: boxes, the five points, scores.

Lines and text grow with the picture and shrink with the face, and carry a dark rim, so that they can be seen on dark
and bright pictures, small and large.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import NUM_LANDMARKS, BoolArray, FaceDetections, FaceLabels, FloatArray
from retinaface_cli.visualization.text import Color, paint, text_mask, trimmed

RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3), red first."""

Segment = npt.NDArray[np.int32]
"""(P, 2) corners of an open line in sixteenths of a pixel."""

_SHIFT = 4
"""OpenCV draws at positions in units of 1 / 2^_SHIFT pixels."""

_RIM_OPACITY = 0.55
_MIN_DIGIT_HEIGHT = 8
_BLACK = (0, 0, 0)


@dataclass(frozen=True)
class DrawStyle:
    """How faces look; None for a size: it follows from the picture and the face.

    Attributes:
        color: of boxes and score tags.
        point_colors: of the five points, in the order of LANDMARK_NAMES.
        line_width: of boxes, in pixels.
        point_radius: of points, in pixels.
        box_outset: by how many line widths the line lies outside the box, so that two boxes in the same place show.
        point_scale: factor of the size of points, so that two points in the same place show.
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
    box_outset: float = 0.0
    point_scale: float = 1.0
    has_rim: bool = True
    has_landmarks: bool = True
    has_scores: bool = True


LABEL_STYLE = DrawStyle(color=(86, 200, 255), box_outset=1.0, point_scale=1.4)
"""True faces: blue, around detections."""

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
"""The pictures of the older tools: green boxes of 2 pixels, five coloured dots, no scores."""


class _Sizes(NamedTuple):
    """Sizes in pixels, (N,) each."""

    line_widths: npt.NDArray[np.intp]
    point_radii: FloatArray
    digit_heights: npt.NDArray[np.intp]


def draw_faces(image: RgbImage, faces: FaceLabels | FaceDetections, *, style: DrawStyle | None = None) -> RgbImage:
    """Draws faces on a copy of the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: in pixels of the picture; ignored ones get a dashed box, missing points are left out.
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
    """Sizes that suit the picture, cut down where they would bury a small face."""
    longest = max(image_size)
    sides = np.sqrt(np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1)).astype(np.float32)
    line_widths = np.clip(np.rint(np.minimum(longest / 500, sides / 14)), 1, None).astype(np.intp)
    point_radii = style.point_scale * np.clip(0.035 * sides, 0.6, max(1.5, longest / 320))
    digit_heights = np.clip(np.rint(np.minimum(longest / 75, 0.3 * sides)), _MIN_DIGIT_HEIGHT, None).astype(np.intp)
    if style.line_width is not None:
        line_widths[:] = style.line_width
    if style.point_radius is not None:
        point_radii[:] = style.point_radius
    return _Sizes(line_widths, point_radii, digit_heights)


def _draw_boxes(canvas: RgbImage, boxes: FloatArray, is_dashed: BoolArray, sizes: _Sizes, style: DrawStyle) -> None:
    """All rims first, half transparent, then all lines, so that no rim covers another face's line."""
    outsets = (style.box_outset * sizes.line_widths)[:, None] * np.array([-1, -1, 1, 1], np.float32)
    lines = [
        _dashes(box, length=4 + 3 * width) if dashed else [_to_fixed(_corners(box))]
        for box, dashed, width in zip(
            _bounded(boxes + outsets, canvas), is_dashed, sizes.line_widths.tolist(), strict=True
        )
    ]
    if style.has_rim:
        rims = canvas.copy()
        for line, width in zip(lines, sizes.line_widths.tolist(), strict=True):
            cv2.polylines(rims, line, False, _BLACK, width + 2 * _rim_width(width), cv2.LINE_AA, _SHIFT)
        cv2.addWeighted(rims, _RIM_OPACITY, canvas, 1 - _RIM_OPACITY, 0, dst=canvas)
    for line, width in zip(reversed(lines), sizes.line_widths[::-1].tolist(), strict=True):
        cv2.polylines(canvas, line, False, style.color, width, cv2.LINE_AA, _SHIFT)


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
    """A tag with the score at each box, best first, where it covers no other tag and lies in the picture."""
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
    """Coordinates x, y, x, y, ... kept within a picture length of the picture: OpenCV holds them as integers."""
    longest = max(canvas.shape[:2])
    return np.clip(points, -longest, 2 * longest).astype(np.float32)


def _corners(box: FloatArray) -> FloatArray:
    """(5, 2) the way round a box, back to its start."""
    x1, y1, x2, y2 = box.tolist()
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], np.float32)


def _dashes(box: FloatArray, *, length: float) -> list[Segment]:
    """The sides of a box as dashes and gaps of about that length; every side begins and ends with a dash."""
    corners = _corners(box)
    dashes: list[Segment] = []
    for start, end in itertools.pairwise(corners):
        side = float(np.abs(end - start).sum())
        num_dashes = max(1, round((side / length + 1) / 2))
        positions = np.arange(2 * num_dashes)[:, None] / (2 * num_dashes - 1)  # (2D, 1)
        points = _to_fixed((start + positions * (end - start)).astype(np.float32))
        dashes += list(points.reshape(-1, 2, 2))
    return dashes


def _to_fixed(points: FloatArray) -> Segment:
    """Continuous pixels to OpenCV's units, in which whole numbers are the middles of pixels."""
    fixed: Segment = np.rint((points - 0.5) * (1 << _SHIFT)).astype(np.int32)
    return fixed
