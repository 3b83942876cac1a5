"""Faces cut out of images: turned upright and scaled by their five points for face recognition, or as they are."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import FaceDetections, FaceLabels, FloatArray, RgbImage

ARCFACE_TEMPLATE: FloatArray = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""(5, 2) where the five points of a face lie in a 112 x 112 image for ArcFace recognition networks (InsightFace)."""

_TEMPLATE_SIZE = 112

_BOX_PART = 0.8
"""Part of the side of an aligned image that the longer side of a face without points fills."""

_MIN_SPREAD = 1e-6
"""Square pixels under which points are taken to lie in one place."""


def align_faces(
    image: RgbImage, faces: FaceDetections | FaceLabels, size: int = _TEMPLATE_SIZE
) -> npt.NDArray[np.uint8]:
    """Turns, scales and shifts each face so that its five points come to lie on the ArcFace template.

    The transform is the similarity (rotation, uniform scale, shift) with the least squared error over the points that
    are known (Umeyama, 1991). A face with less than two points in different places is cut out upright as a square
    around its box instead, so that image i always shows face i.

    Args:
        image: (H, W, 3) uint8.
        faces: N faces in pixels of the image.
        size: side of the results in pixels; the template grows with it.

    Returns:
        (N, size, size, 3) uint8; black where a face reaches beyond the image.
    """
    transforms = estimate_alignment(faces.boxes, faces.landmarks, size=size)
    aligned = np.empty((len(faces), size, size, 3), np.uint8)
    for index, transform in enumerate(transforms):
        cv2.warpAffine(image, transform, (size, size), dst=aligned[index])
    return aligned


def estimate_alignment(
    boxes: FloatArray, landmarks: FloatArray, *, size: int = _TEMPLATE_SIZE
) -> npt.NDArray[np.float64]:
    """The transforms of align_faces: image pixels to pixels of the aligned image.

    Points are taken as OpenCV and the recognition networks' own tools take them: whole numbers are middles of pixels.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max; used for faces whose points do not do.
        landmarks: (N, 5, 2); NaN where missing.
        size: side of the aligned images.

    Returns:
        (N, 2, 3) matrices [a -b x; b a y].
    """
    template = ARCFACE_TEMPLATE.astype(np.float64) * (size / _TEMPLATE_SIZE)
    factors, shifts, is_fitted = _fit_similarities(landmarks.astype(np.float64), template)
    longer = np.maximum(np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]), 1).astype(np.float64)
    centers = (boxes[:, 0] + boxes[:, 2]) / 2 + 1j * (boxes[:, 1] + boxes[:, 3]) / 2
    factors = np.where(is_fitted, factors, _BOX_PART * size / longer)
    shifts = np.where(is_fitted, shifts, size / 2 * (1 + 1j) - factors * centers)
    rows = [[factors.real, -factors.imag, shifts.real], [factors.imag, factors.real, shifts.imag]]
    return np.moveaxis(np.array(rows), -1, 0)  # (N, 2, 3)


def _fit_similarities(
    points: npt.NDArray[np.float64], template: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128], npt.NDArray[np.bool_]]:
    """Least-squares similarities of N faces at once.

    A similarity of the plane is w = factor * z + shift in complex numbers, which makes least squares a division.

    Args:
        points: (N, 5, 2), NaN where missing.
        template: (5, 2) where they are to go.

    Returns:
        (N,) factors and shifts, and whether there were points enough to tell them.
    """
    is_known = np.isfinite(points[..., 0]) & np.isfinite(points[..., 1])  # (N, 5)
    sources = np.where(is_known, points[..., 0] + 1j * points[..., 1], 0)  # (N, 5)
    targets = (template[:, 0] + 1j * template[:, 1]) * is_known  # (N, 5)
    num_known = np.maximum(is_known.sum(axis=1), 1)
    source_means, target_means = sources.sum(axis=1) / num_known, targets.sum(axis=1) / num_known
    centered = (sources - source_means[:, None]) * is_known
    spread = (np.abs(centered) ** 2).sum(axis=1)
    products = (np.conj(centered) * targets).sum(axis=1)
    is_fitted = (spread > _MIN_SPREAD) & (np.abs(products) > _MIN_SPREAD)
    factors = products / np.where(is_fitted, spread, 1)
    return factors, target_means - factors * source_means, is_fitted


def crop_faces(image: RgbImage, boxes: FloatArray, *, margin: float = 0.0) -> list[RgbImage]:
    """Cuts faces out as they are.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels of the image.
        margin: added on each side, as part of the box's width and height.

    Returns:
        N copies of (h, w, 3), rounded outwards to whole pixels and cut off at the border of the image; at least 1 x 1.
    """
    height, width = image.shape[:2]
    sizes = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    bounds = np.array([width, height])
    low = np.clip(np.floor(boxes[:, :2] - margin * sizes), 0, bounds - 1).astype(int)
    high = np.clip(np.ceil(boxes[:, 2:] + margin * sizes), low + 1, bounds).astype(int)
    corners = np.concatenate([low, high], axis=1).tolist()
    return [image[top:bottom, left:right].copy() for left, top, right, bottom in corners]
