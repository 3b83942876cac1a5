"""A second, small look at large images, for faces that are larger than the largest anchors.

A network sees faces of about 10 to 500 pixels; a portrait of 2000 pixels falls apart into eyes and noses. The second
look is at 160 to 320 pixels, whatever the image has, and decides on large faces. It is taken where the largest
anchors of the first look hint at a face: they do so in the middle of a close-up too.
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

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.faces import FaceDetections, FloatArray
from retinaface_cli.geometry.boxes import box_area, pairwise_intersection, pairwise_iou
from retinaface_cli.model.networks.outputs import HeadOutputs

LONG_SIDE = 320
"""The longer side of the second look has at most this many pixels."""

MIN_IMAGE_SIDE = 640
"""Images whose longer side is at most this many pixels get no second look: no face in them is much too large."""

HINT_SCORE = 0.1
"""Score of a largest anchor in the first look from which a second one is worth its time. In close-ups it was .83 and
more, and in four of five images of WIDER FACE less than .1."""

MIN_FACE_SIDE = 360.0
"""Faces whose longer side has this many pixels in the first look are large: about two thirds of the largest anchor."""

CERTAIN_SCORE = 0.5
"""A large face of the second look with this score replaces what the first look found in its place; a weaker one gives
way to it."""

_INSIDE = 0.5
"""Part of a box's area that must lie in a large face for the box to be a piece of it."""


def hint_at_close_ups(outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], images: Sequence[RgbImage]) -> list[bool]:
    """Whether each of B images (H, W, 3) at network size may hold faces that are too large for the network.

    Args:
        outputs: of the first look, B images.
        anchors: (cx, cy, w, h) that they refer to.
        images: the images.
    """
    largest = (anchors[:, 2] >= anchors[:, 2].max()).nonzero()[:, 0]
    logits = outputs.class_logits[:, largest].float()
    scores = (logits[..., 1] - logits[..., 0]).sigmoid().amax(dim=1)
    is_hinted = (scores >= HINT_SCORE).tolist()
    return [hinted and max(image.shape) > MIN_IMAGE_SIDE for hinted, image in zip(is_hinted, images, strict=True)]


def shrink(image: RgbImage) -> RgbImage:
    """The image as the second look sees it: k x k pixels of the image in one; up to k - 1 at the far edges go.

    A whole number k makes this several times as fast as any other factor.
    """
    k = shrink_factor(image)
    height, width = (max(1, side // k) for side in image.shape[:2])
    whole = image[: height * k, : width * k]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def shrink_factor(image: RgbImage) -> int:
    """Pixels of the image (H, W, 3) in a pixel of the second look, along one side."""
    long_side: int = max(image.shape[:2])
    return math.ceil(long_side / LONG_SIDE)


def enlarge(faces: FaceDetections, factor: int) -> FaceDetections:
    """Faces of a shrunk image in pixels of the image itself."""
    return FaceDetections(faces.boxes * factor, faces.landmarks * factor, faces.scores)


def merge_looks(first: FaceDetections, second: FaceDetections, *, nms_iou_threshold: float) -> FaceDetections:
    """One list of the faces of both looks, best first: large ones as the second look has them, the others as the first.

    What the first look takes for a large face stays only where the second look has found a face too; what it found
    within a large face goes.

    Args:
        first: of the image itself, in its pixels.
        second: of the shrunk image, in the same pixels.
        nms_iou_threshold: overlap from which two boxes show the same face; so does a box that lies in a large face.
    """
    ious, inside = _overlaps(first, second)  # (N, M)
    is_same = ious > nms_iou_threshold
    first_stays = ~_is_large(first) | is_same.any(axis=1)
    large = np.flatnonzero(_is_large(second))
    clashes = is_same[:, large] | (inside[:, large] > _INSIDE)
    is_certain = second.scores[large] >= CERTAIN_SCORE
    first_stays &= ~clashes[:, is_certain].any(axis=1)
    kept = [first.select(np.flatnonzero(first_stays))]
    kept.append(second.select(large[is_certain | ~clashes[first_stays].any(axis=0)]))
    return FaceDetections.concatenate(kept)


def _is_large(faces: FaceDetections) -> npt.NDArray[np.bool_]:
    """(N,) which faces the second look decides on."""
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return sides.max(axis=1, initial=0) >= MIN_FACE_SIDE  # type: ignore[no-any-return]


def _overlaps(first: FaceDetections, second: FaceDetections) -> tuple[FloatArray, FloatArray]:
    """(N, M) IoU, and the part of each box of the first that lies in each of the second."""
    boxes, others = torch.from_numpy(first.boxes.copy()), torch.from_numpy(second.boxes.copy())
    areas = box_area(boxes)[:, None]
    inside = pairwise_intersection(boxes, others) / areas.clamp(min=1e-9)
    return pairwise_iou(boxes, others).numpy(), inside.numpy()
