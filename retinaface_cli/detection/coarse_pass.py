"""A coarse pass over large images, for faces that are larger than the largest anchors.

A network finds faces of about 10 to 500 pixels; a portrait of 2000 pixels falls apart into eyes and noses. The coarse
pass runs at 160 to 320 pixels, whatever the size of the image, and decides on large faces. It runs where the largest
anchors of the fine pass hint at a face: they do so in the middle of a portrait too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.faces import FaceDetections, FloatArray, RgbImage
from retinaface_cli.geometry.boxes import box_area, pairwise_intersection, pairwise_iou
from retinaface_cli.geometry.suppression import nms
from retinaface_cli.model.networks.outputs import HeadOutputs

LONG_SIDE = 320
"""The longer side of the coarse pass has at most this many pixels."""

MIN_IMAGE_SIDE = 640
"""Images whose longer side is at most this many pixels get no coarse pass: no face in them is much too large."""

HINT_SCORE = 0.1
"""Score of a largest anchor in the fine pass from which a coarse one is worth its time. In portraits it was .83 and
more, and in four of five images of WIDER FACE less than .1."""

MIN_FACE_SIDE = 360.0
"""Faces whose longer side has this many pixels in the fine pass are large: about two thirds of the largest anchor."""

FULL_FACE_SIDE = 512.0
"""Faces of this many pixels, the largest anchor, and more are as the coarse pass has them; smaller ones lie between the
two passes, so that a face keeps its place when the image grows."""

CERTAIN_SCORE = 0.5
"""A large face of the coarse pass with this score replaces what the fine pass found in its place; a weaker one gives
way to it."""

_INSIDE = 0.5
"""Part of a box's area that must lie in a large face for the box to be a piece of it."""


def is_hinted(outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], images: Sequence[RgbImage]) -> list[bool]:
    """Whether each of B images (H, W, 3) at network size may hold faces that are too large for the network.

    Args:
        outputs: of the fine pass, B images.
        anchors: (cx, cy, w, h) that they refer to.
        images: the images.
    """
    largest = (anchors[:, 2] >= anchors[:, 2].max()).nonzero()[:, 0]
    logits = outputs.class_logits[:, largest].float()
    scores = (logits[..., 1] - logits[..., 0]).sigmoid().amax(dim=1)
    hints = (scores >= HINT_SCORE).tolist()
    return [hint and max(image.shape) > MIN_IMAGE_SIDE for hint, image in zip(hints, images, strict=True)]


def shrink(image: RgbImage) -> RgbImage:
    """The image as it enters the coarse pass: k x k pixels of the image in one; up to k - 1 at the far edges go.

    A whole number k makes this several times as fast as any other factor.
    """
    k = shrink_factor(image)
    height, width = (max(1, side // k) for side in image.shape[:2])
    whole = image[: height * k, : width * k]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def shrink_factor(image: RgbImage) -> int:
    """Pixels of the image (H, W, 3) in a pixel of the coarse pass, along one side."""
    long_side: int = max(image.shape[:2])
    return math.ceil(long_side / LONG_SIDE)


def enlarge(faces: FaceDetections, factor: int) -> FaceDetections:
    """Faces of a shrunk image in pixels of the image itself."""
    return FaceDetections(faces.boxes * factor, faces.landmarks * factor, faces.scores)


def merge_passes(
    fine: FaceDetections,
    coarse: FaceDetections,
    *,
    nms_iou_threshold: float,
    shared_sides: tuple[float, float] | None = None,
) -> FaceDetections:
    """One list of the faces of both passes, best first: large ones as the coarse pass has them, the others as the fine.

    What the fine pass takes for a large face stays only where the coarse pass has found a face too; what it found
    within a large face goes.

    Args:
        fine: of the image itself, in its pixels.
        coarse: of the shrunk image, in the same pixels.
        nms_iou_threshold: overlap from which two boxes show the same face; so does a box that lies in a large face.
        shared_sides: the faces that both passes decide on together, by suppression: from the first to the second of
            these longer sides, in the same pixels. None: the passes share none.
    """
    if shared_sides is not None:
        return _join_passes(fine, coarse, shared_sides, nms_iou_threshold)
    ious, inside = _overlaps(fine, coarse)  # (N, M)
    is_same = ious > nms_iou_threshold
    fine_stays = ~_is_large(fine) | is_same.any(axis=1)
    large = np.flatnonzero(_is_large(coarse))
    clashes = is_same[:, large] | (inside[:, large] > _INSIDE)
    is_certain = coarse.scores[large] >= CERTAIN_SCORE
    fine_stays &= ~clashes[:, is_certain].any(axis=1)
    stays = is_certain | ~clashes[fine_stays].any(axis=0)
    blended = _blend(fine, coarse.select(large), np.where(is_same, ious, 0)[:, large])
    return FaceDetections.concatenate([fine.select(np.flatnonzero(fine_stays)), blended.select(np.flatnonzero(stays))])


def _join_passes(
    fine: FaceDetections, coarse: FaceDetections, shared_sides: tuple[float, float], nms_iou_threshold: float
) -> FaceDetections:
    """Small faces of the fine and large ones of the coarse pass after suppression, without pieces of large ones."""
    low, high = shared_sides
    coarse = coarse.select(_long_sides(coarse) >= low)
    certain = coarse.select(_is_large(coarse) & (coarse.scores >= CERTAIN_SCORE))
    is_piece = (_overlaps(fine, certain)[1] > _INSIDE).any(axis=1)
    both = FaceDetections.concatenate([fine.select((_long_sides(fine) < high) & ~is_piece), coarse])
    boxes, scores = torch.from_numpy(both.boxes.copy()), torch.from_numpy(both.scores.copy())
    return both.select(nms(boxes, scores, nms_iou_threshold).numpy())


def _blend(fine: FaceDetections, large: FaceDetections, ious: FloatArray) -> FaceDetections:
    """Large faces (M) of the coarse pass, moved towards the face (N) of the fine pass that overlaps each most.

    Args:
        fine: of the fine pass.
        large: of the coarse pass.
        ious: (N, M), 0 where they do not show the same face.
    """
    if not len(fine):
        return large
    part = np.clip((_long_sides(large) - MIN_FACE_SIDE) / (FULL_FACE_SIDE - MIN_FACE_SIDE), 0, 1)
    part = np.where(ious.any(axis=0), part, 1).astype(np.float32)
    same = fine.select(ious.argmax(axis=0))
    return FaceDetections(
        same.boxes + part[:, None] * (large.boxes - same.boxes),
        same.landmarks + part[:, None, None] * (large.landmarks - same.landmarks),
        large.scores,
    )


def _is_large(faces: FaceDetections) -> npt.NDArray[np.bool_]:
    """(N,) which faces the coarse pass decides on."""
    return _long_sides(faces) >= MIN_FACE_SIDE


def _long_sides(faces: FaceDetections) -> FloatArray:
    """(N,) the longer side of each box in pixels."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return sides.max(axis=1, initial=0)  # type: ignore[no-any-return]


def _overlaps(first: FaceDetections, second: FaceDetections) -> tuple[FloatArray, FloatArray]:
    """(N, M) IoU, and the part of each box of the first that lies in each of the second."""
    boxes, others = torch.from_numpy(first.boxes.copy()), torch.from_numpy(second.boxes.copy())
    areas = box_area(boxes)[:, None]
    inside = pairwise_intersection(boxes, others) / areas.clamp(min=1e-9)
    return pairwise_iou(boxes, others).numpy(), inside.numpy()
