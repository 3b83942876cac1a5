"""Losses on the boxes and landmarks of positives.

Those on boxes take their encoding, or the overlap of the decoded boxes; those on landmarks go point by point.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.geometry.boxes import box_area, decode_boxes, encode_boxes
from retinaface_cli.settings.loss import (
    BoxLossSettings,
    IouLossSettings,
    LandmarkLossSettings,
    SmoothL1Settings,
    WingSettings,
)

_EPSILON = 1e-7


@runtime_checkable
class BoxLoss(Protocol):
    """A loss on the boxes of positives."""

    def __call__(
        self, box_deltas: Float[Tensor, "P 4"], boxes: Float[Tensor, "P 4"], anchors: Float[Tensor, "P 4"]
    ) -> Float[Tensor, "P"]:
        """The loss of each positive.

        Args:
            box_deltas: what the network says.
            boxes: the faces, xyxy in pixels of the network input.
            anchors: cx, cy, w, h in the same pixels.
        """


class SmoothL1BoxLoss:
    """Smooth L1 on encoded boxes, summed over the four numbers; see SmoothL1Settings."""

    def __init__(self, settings: SmoothL1Settings) -> None:
        self.settings = settings

    def __call__(
        self, box_deltas: Float[Tensor, "P 4"], boxes: Float[Tensor, "P 4"], anchors: Float[Tensor, "P 4"]
    ) -> Float[Tensor, "P"]:
        """The loss of each positive; see BoxLoss."""
        wanted = encode_boxes(boxes, anchors)
        return F.smooth_l1_loss(box_deltas, wanted, reduction="none", beta=self.settings.beta).sum(dim=1)


class IouBoxLoss:
    """One minus the IoU of decoded boxes, with a penalty by kind; see IouLossSettings.

    giou: Rezatofighi et al., 2019; diou and ciou: Zheng et al., 2020.
    """

    def __init__(self, settings: IouLossSettings) -> None:
        self._penalty = {"giou": _empty_part, "diou": _center_distance, "ciou": _distance_and_shape}[settings.name]

    def __call__(
        self, box_deltas: Float[Tensor, "P 4"], boxes: Float[Tensor, "P 4"], anchors: Float[Tensor, "P 4"]
    ) -> Float[Tensor, "P"]:
        """The loss of each positive; see BoxLoss."""
        predicted = decode_boxes(box_deltas, anchors)
        iou, union = _iou_and_union(predicted, boxes)
        return 1 - iou + self._penalty(predicted, boxes, iou, union)


def aligned_iou(boxes_a: Float[Tensor, "P 4"], boxes_b: Float[Tensor, "P 4"]) -> Float[Tensor, "P"]:
    """Intersection over union of each box of the first with the same box of the second."""
    return _iou_and_union(boxes_a, boxes_b)[0]


def _iou_and_union(boxes_a: Tensor, boxes_b: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(boxes_a[:, :2], boxes_b[:, :2])
    high = torch.minimum(boxes_a[:, 2:], boxes_b[:, 2:])
    intersection = (high - low).clamp(min=0).prod(dim=1)
    union = box_area(boxes_a) + box_area(boxes_b) - intersection + _EPSILON
    return intersection / union, union


def _hull(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """(P, 2) width and height of the smallest box around both."""
    return torch.maximum(boxes_a[:, 2:], boxes_b[:, 2:]) - torch.minimum(boxes_a[:, :2], boxes_b[:, :2])


def _empty_part(predicted: Tensor, boxes: Tensor, iou: Tensor, union: Tensor) -> Tensor:  # noqa: ARG001
    """The part of the hull that neither box covers."""
    hull = _hull(predicted, boxes).prod(dim=1) + _EPSILON
    return (hull - union) / hull


def _center_distance(predicted: Tensor, boxes: Tensor, iou: Tensor, union: Tensor) -> Tensor:  # noqa: ARG001
    """Squared distance of the centres over the squared diagonal of the hull."""
    between = (predicted[:, :2] + predicted[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return (between**2).sum(dim=1) / ((_hull(predicted, boxes) ** 2).sum(dim=1) + _EPSILON)


def _distance_and_shape(predicted: Tensor, boxes: Tensor, iou: Tensor, union: Tensor) -> Tensor:
    """The distance of the centres, and how much the angles of the diagonals differ."""
    angles = [torch.atan2(*(box[:, 2:] - box[:, :2]).unbind(dim=1)) for box in (predicted, boxes)]
    shape = (2 / math.pi * (angles[0] - angles[1])) ** 2
    return _center_distance(predicted, boxes, iou, union) + shape**2 / (1 - iou + shape + _EPSILON)


def build_box_loss(settings: BoxLossSettings) -> BoxLoss:
    """The loss that the settings name."""
    return IouBoxLoss(settings) if isinstance(settings, IouLossSettings) else SmoothL1BoxLoss(settings)


@runtime_checkable
class LandmarkLoss(Protocol):
    """A loss on the landmarks of positives."""

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point, from what the network says and what it should say, both encoded."""


class SmoothL1LandmarkLoss:
    """Smooth L1, summed over x and y; see SmoothL1Settings."""

    def __init__(self, settings: SmoothL1Settings) -> None:
        self.settings = settings

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point; see LandmarkLoss."""
        return F.smooth_l1_loss(landmark_deltas, wanted, reduction="none", beta=self.settings.beta).sum(dim=2)


class WingLoss:
    """Wing loss, summed over x and y; see WingSettings."""

    def __init__(self, settings: WingSettings) -> None:
        self.settings = settings
        self._gap = settings.width - settings.width * math.log1p(settings.width / settings.curvature)

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point; see LandmarkLoss."""
        width, curvature = self.settings.width, self.settings.curvature
        error = (landmark_deltas - wanted).abs()
        curved = width * torch.log1p(error / curvature)
        return torch.where(error < width, curved, error - self._gap).sum(dim=2)


def build_landmark_loss(settings: LandmarkLossSettings) -> LandmarkLoss:
    """The loss that the settings name."""
    return WingLoss(settings) if isinstance(settings, WingSettings) else SmoothL1LandmarkLoss(settings)
