"""Boxes and landmarks as tensors, and their encoding relative to anchors.

Everything is in pixels of the network input, in float32. Encoding follows SSD (Liu et al., 2016) with the variances
0.1 for centres and landmarks and 0.2 for sizes that all RetinaFace checkpoints were trained with.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
_MAX_LOG_SCALE = 20.0
"""Bound on log(width / anchor width) in decoding, so that a wild output gives a huge box and not infinity."""


def xyxy_to_cxcywh(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def cxcywh_to_xyxy(boxes_cxcywh: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Centre and size to corners."""
    center, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([center - half, center + half], dim=-1)


def pairwise_iou(boxes_a: Float[Tensor, "*B N 4"], boxes_b: Float[Tensor, "*C M 4"]) -> Float[Tensor, "*D N M"]:
    """Intersection over union of every box of the first with every box of the second; 0 where both are empty."""
    intersection = pairwise_intersection(boxes_a, boxes_b)
    union = box_area(boxes_a)[..., :, None] + box_area(boxes_b)[..., None, :] - intersection
    return intersection / union.clamp(min=1e-9)


def pairwise_intersection(
    boxes_a: Float[Tensor, "*B N 4"], boxes_b: Float[Tensor, "*C M 4"]
) -> Float[Tensor, "*D N M"]:
    """Area that every box of the first shares with every box of the second, in square pixels."""
    low_x, low_y, high_x, high_y = (a[..., :, None] for a in boxes_a.unbind(dim=-1))  # (N, 1) each
    other_low_x, other_low_y, other_high_x, other_high_y = (b[..., None, :] for b in boxes_b.unbind(dim=-1))  # (1, M)
    width = torch.minimum(high_x, other_high_x) - torch.maximum(low_x, other_low_x)
    height = torch.minimum(high_y, other_high_y) - torch.maximum(low_y, other_low_y)
    return width.clamp(min=0) * height.clamp(min=0)


def box_area(boxes: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N"]:
    """Area in square pixels; boxes turned inside out have none."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


def encode_boxes(boxes: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Boxes (xyxy) to what the network is to output for the anchors (cxcywh)."""
    boxes_cxcywh = xyxy_to_cxcywh(boxes)
    centers = (boxes_cxcywh[..., :2] - anchors[..., :2]) / (CENTER_VARIANCE * anchors[..., 2:])
    sizes = torch.log(boxes_cxcywh[..., 2:] / anchors[..., 2:]) / SIZE_VARIANCE
    return torch.cat([centers, sizes], dim=-1)


def decode_boxes(box_deltas: Float[Tensor, "*N 4"], anchors: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 4"]:
    """Network output for the anchors (cxcywh) to boxes (xyxy); the inverse of encode_boxes."""
    centers = anchors[..., :2] + CENTER_VARIANCE * box_deltas[..., :2] * anchors[..., 2:]
    log_scales = (SIZE_VARIANCE * box_deltas[..., 2:]).clamp(max=_MAX_LOG_SCALE)
    # pow: torch deals exp out to its threads from 2048 numbers on, and waits milliseconds for one that is busy
    sizes = anchors[..., 2:] * torch.pow(math.e, log_scales)
    return cxcywh_to_xyxy(torch.cat([centers, sizes], dim=-1))


def encode_landmarks(landmarks: Float[Tensor, "*N 5 2"], anchors: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 5 2"]:
    """Points to what the network is to output for the anchors (cxcywh); NaN stays NaN."""
    return (landmarks - anchors[..., None, :2]) / (CENTER_VARIANCE * anchors[..., None, 2:])


def decode_landmarks(
    landmark_deltas: Float[Tensor, "*N 5 2"], anchors: Float[Tensor, "*N 4"]
) -> Float[Tensor, "*N 5 2"]:
    """Network output for the anchors (cxcywh) to points; the inverse of encode_landmarks."""
    return anchors[..., None, :2] + CENTER_VARIANCE * landmark_deltas * anchors[..., None, 2:]
