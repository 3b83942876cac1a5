"""Test-time augmentation: several passes over an image, mirrored and at other sizes, and one list of their faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, NUM_LANDMARKS, FaceDetections, RgbImage
from retinaface_cli.geometry.boxes import pairwise_iou
from retinaface_cli.geometry.suppression import nms
from retinaface_cli.model.postprocess import vote_boxes
from retinaface_cli.settings.detection import DetectionSettings

if TYPE_CHECKING:
    from retinaface_cli.detection.detector import FaceDetector

SCALE_FACTORS = (0.5, 1.0, 1.5, 2.0)
"""Sizes of the multi-scale test, as factors of the test scale."""

SOFT_NMS_SIGMA = 0.5
"""Width of the Gaussian penalty in Soft-NMS (Bodla et al., 2017)."""


@dataclass(frozen=True)
class View:
    """One form of an image.

    Attributes:
        factor: of the size at which the image goes through the network.
        mirrored: whether left and right are swapped.
    """

    factor: float = 1.0
    mirrored: bool = False


def views_of(settings: DetectionSettings) -> list[View]:
    """The views of `flip`, `multiscale`, or both."""
    factors = SCALE_FACTORS if "multiscale" in settings.tta else (1.0,)
    return [View(factor, mirrored) for factor in factors for mirrored in (False, True)[: 1 + ("flip" in settings.tta)]]


def detect_augmented(detector: FaceDetector, images: Sequence[RgbImage]) -> list[FaceDetections]:
    """Finds faces in all views of each image and merges them.

    Args:
        detector: its scale is the base that the factors of the views multiply, its settings name the views.
        images: (H, W, 3) uint8 RGB each, at original size.

    Returns:
        Faces in pixels of the images, best first.
    """
    views = [_detect_view(detector, images, view) for view in views_of(detector.settings)]
    return [_merge(FaceDetections.concatenate(of_image), detector.settings) for of_image in zip(*views, strict=True)]


def mirror(faces: FaceDetections, *, width: int) -> FaceDetections:
    """The faces as they lie in the mirrored image of that width in pixels; its own inverse."""
    boxes = np.stack([width - faces.boxes[:, 2], faces.boxes[:, 1], width - faces.boxes[:, 0], faces.boxes[:, 3]], 1)
    landmarks = faces.landmarks[:, LANDMARK_MIRROR_ORDER] * np.array([-1, 1], np.float32)
    return FaceDetections(boxes, landmarks + np.array([width, 0], np.float32), faces.scores)


def vote_faces(faces: FaceDetections, *, iou_threshold: float) -> FaceDetections:
    """Each face that suppression would keep, with the mean of its box and landmarks and those that it would drop.

    Args:
        faces: in any order.
        iou_threshold: overlap above which two boxes show the same face.

    Returns:
        The best score of each group of boxes, highest first.
    """
    boxes, scores = torch.from_numpy(faces.boxes.copy()), torch.from_numpy(faces.scores.copy())
    kept = nms(boxes, scores, iou_threshold)
    values = torch.cat([boxes, torch.from_numpy(faces.landmarks.copy()).flatten(1)], dim=1)  # (N, 14)
    means = vote_boxes(values, boxes, scores, kept, iou_threshold=iou_threshold, power=1).numpy()
    return FaceDetections(means[:, :4], means[:, 4:].reshape(-1, NUM_LANDMARKS, 2), faces.scores[kept.numpy()])


def soften_scores(faces: FaceDetections, *, score_threshold: float) -> FaceDetections:
    """Soft-NMS: the best face stays, all others lose score by exp(-IoU^2 / SOFT_NMS_SIGMA), and so on with the next.

    Args:
        faces: in any order.
        score_threshold: faces are dropped when their score is no longer above it.

    Returns:
        The faces with their new scores, highest first.
    """
    scores = faces.scores.astype(np.float64)
    boxes = torch.from_numpy(faces.boxes.copy())
    left = np.flatnonzero(scores > score_threshold)
    taken: list[int] = []
    while len(left):
        best = int(left[scores[left].argmax()])
        taken.append(best)
        left = left[left != best]
        overlaps = pairwise_iou(boxes[best : best + 1], boxes[left])[0].numpy()
        scores[left] *= np.exp(-(overlaps**2) / SOFT_NMS_SIGMA)
        left = left[scores[left] > score_threshold]
    order = np.array(taken, np.intp)
    return FaceDetections(faces.boxes[order], faces.landmarks[order], scores[order].astype(np.float32))


def _merge(faces: FaceDetections, settings: DetectionSettings) -> FaceDetections:
    """One list of what all views of an image gave."""
    if settings.tta_merge == "box-voting":
        merged = vote_faces(faces, iou_threshold=settings.nms_iou_threshold)
    else:
        merged = soften_scores(faces, score_threshold=settings.score_threshold)
    return merged.select(np.arange(min(len(merged), settings.keep_top_k)))


def _detect_view(detector: FaceDetector, images: Sequence[RgbImage], view: View) -> list[FaceDetections]:
    """Faces of one view of each image, in pixels of the upright image."""
    resizers = [_resizer(detector, image, view) for image in images]
    seen = [_apply(image, resizer, view) for image, resizer in zip(images, resizers, strict=True)]
    found = detector.detect_scaled(seen, resizers)
    if not view.mirrored:
        return found
    return [mirror(faces, width=image.shape[1]) for faces, image in zip(found, images, strict=True)]


def _resizer(detector: FaceDetector, image: RgbImage, view: View) -> Resizer:
    """The detector's resizing with the view's factor."""
    height, width = (max(1, round(side * view.factor)) for side in detector.target_size(image))
    return Resizer((image.shape[0], image.shape[1]), (height, width))


def _apply(image: RgbImage, resizer: Resizer, view: View) -> RgbImage:
    """The image as it goes through the network."""
    resized = resizer.resize(image)
    return np.ascontiguousarray(resized[:, ::-1]) if view.mirrored else resized
