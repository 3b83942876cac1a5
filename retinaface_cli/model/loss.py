"""The loss of a face network: boxes, face or background, and landmarks, after matching; always in float32 or better.

Losses on boxes take their encoding, or the overlap of the decoded boxes; those on landmarks go point by point; those on
classes take the margin of the two logits, whose sigmoid is the face's probability.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import box_area, decode_boxes, encode_boxes, encode_landmarks
from retinaface_cli.model.matching.anchor_grid import anchor_grid
from retinaface_cli.model.matching.matchers import match_anchors
from retinaface_cli.model.matching.targets import FaceTargets, Matches, Positives, collect_positives
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.loss import (
    BoxLossSettings,
    ClassificationLossSettings,
    CrossEntropySettings,
    FocalSettings,
    LandmarkLossSettings,
    LossSettings,
    QualityFocalSettings,
    SmoothL1Settings,
)
from retinaface_cli.settings.network import NetworkSettings

_EPSILON = 1e-7


class LossValues(NamedTuple):
    """The loss of a batch.

    Attributes:
        total: () weighted sum of the three parts.
        box: () of the boxes, before its weight.
        classification: () of face or background, before its weight.
        landmarks: () of the landmarks, before its weight.
    """

    total: Float[Tensor, ""]
    box: Float[Tensor, ""]
    classification: Float[Tensor, ""]
    landmarks: Float[Tensor, ""]


class LossSum(NamedTuple):
    """A loss before it is normalised.

    Attributes:
        total: () sum over the batch of one process.
        divisor: () what it is to be divided by, once summed over all processes.
    """

    total: Float[Tensor, ""]
    divisor: Float[Tensor, ""]


class FaceLoss:
    """The loss of a batch against its true faces.

    Boxes and classes are divided by the number of positive anchors, landmarks by a fifth of the number of known points;
    both are counted over all processes, and what comes out is such that its mean over the processes is the loss of one
    process with all the images. DistributedDataParallel takes that mean of the gradients.
    """

    def __init__(self, settings: LossSettings, network: NetworkSettings) -> None:
        """Makes the loss of a network, whose anchors are matched by the sizes of faces that they are to find."""
        self.settings = settings
        self.network = network

    def __call__(self, outputs: HeadOutputs, targets: FaceTargets, *, image_size: tuple[int, int]) -> LossValues:
        """The loss.

        Args:
            outputs: of the network for images of one size.
            targets: their faces.
            image_size: (height, width) of the network input in pixels.
        """
        with torch.autocast(outputs.class_logits.device.type, enabled=False):
            device, anchor_settings = outputs.class_logits.device, self.network.anchors
            grid = anchor_grid(image_size, self.network.matched_anchors, device)
            matches = match_anchors(targets, grid, self.settings.matching, batch_size=len(outputs.class_logits))
            anchors = generate_anchors(image_size, anchor_settings.sizes, anchor_settings.strides, device)
            positives = collect_positives(matches, targets, anchors)
            box, classification, landmarks = _normalize(self._sum_parts(outputs, matches, positives))
        weights = self.settings.weights
        total = weights.localization * box + weights.classification * classification + weights.landmarks * landmarks
        return LossValues(total, box, classification, landmarks)

    def _sum_parts(self, outputs: HeadOutputs, matches: Matches, positives: Positives) -> list[LossSum]:
        """Sums and counts of box, classification and landmark loss over the batch of this process."""
        settings = self.settings
        box_deltas = _at_least_float32(outputs.box_deltas.flatten(0, 1)[positives.place])  # (P, 4)
        landmark_deltas = _at_least_float32(outputs.landmark_deltas.flatten(0, 1)[positives.place])  # (P, 5, 2)
        logits = _at_least_float32(outputs.class_logits)
        margins = logits[..., 1] - logits[..., 0]  # (B, A)
        if isinstance(settings.classification, QualityFocalSettings):
            predicted = decode_boxes(box_deltas.detach(), positives.anchors)
            positives = positives._replace(quality=_iou_and_union(predicted, positives.boxes)[0])
        box = box_loss(settings.box, box_deltas, positives.boxes, positives.anchors)
        wanted = encode_landmarks(positives.landmarks, positives.anchors)
        points = landmark_loss(settings.landmarks, landmark_deltas, wanted)
        return [
            LossSum((box * positives.is_real).sum(), positives.is_real.sum()),
            classification_loss(settings.classification, margins, matches, positives),
            LossSum((points * positives.has_landmarks).sum(), positives.has_landmarks.sum() / NUM_LANDMARKS),
        ]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _normalize(sums: list[LossSum]) -> list[Tensor]:
    """Divides each sum by its count over all processes, a count under 1 taken as 1, times their number."""
    counts = torch.stack([part.divisor.to(part.total.dtype) for part in sums])
    num_processes = 1
    if dist.is_available() and dist.is_initialized():
        num_processes = dist.get_world_size()
        dist.all_reduce(counts)
    counts = counts.clamp(min=1) / num_processes
    return [part.total / count for part, count in zip(sums, counts.unbind(), strict=True)]


def classification_loss(
    settings: ClassificationLossSettings, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives
) -> LossSum:
    """The loss on face or background of a batch.

    Args:
        settings: kind of loss.
        margins: logit of face minus logit of background.
        matches: what each anchor is to learn.
        positives: its positives, with the quality of their boxes for the quality focal loss.
    """
    if isinstance(settings, CrossEntropySettings):
        return _hard_negative_cross_entropy(settings, margins, matches, positives)
    face = margins.flatten()[positives.place]
    if isinstance(settings, FocalSettings):
        background = torch.sigmoid(margins) ** settings.gamma * F.softplus(margins) * matches.is_background
        positive = torch.sigmoid(-face) ** settings.gamma * F.softplus(-face) * positives.is_real
        total = settings.alpha * positive.sum() + (1 - settings.alpha) * background.sum()
    else:
        background = torch.sigmoid(margins) ** settings.beta * F.softplus(margins) * matches.is_background
        distance = (positives.quality - torch.sigmoid(face)).abs() ** settings.beta
        positive = distance * (F.softplus(face) - positives.quality * face) * positives.is_real
        total = positive.sum() + background.sum()
    return LossSum(total, positives.is_real.sum().to(margins.dtype))


def _hard_negative_cross_entropy(
    settings: CrossEntropySettings, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives
) -> LossSum:
    """Cross-entropy over the positives and the hardest negatives of each image.

    An image counts in the normaliser with its positives; with fewer than min_negatives ask for, as if it had enough.
    """
    ratio = settings.negatives_per_positive
    num_positives = (matches.face_index >= 0).sum(dim=1)  # (B,)
    num_negatives = (num_positives * ratio).clamp(min=settings.min_negatives).long()
    of_negatives = margins.masked_fill(~matches.is_background, -torch.inf)
    num_sorted = margins.shape[1]  # on an accelerator all, since asking for the number would wait for it
    if num_negatives.device.type == "cpu":
        num_sorted = min(int(num_negatives.max()), num_sorted)
    hardest = of_negatives.topk(num_sorted, dim=1).values  # (B, K)
    is_taken = torch.arange(num_sorted, device=margins.device) < num_negatives[:, None]
    negative = F.softplus(hardest.masked_fill(~is_taken, -torch.inf)).sum()
    positive = (F.softplus(-margins.flatten()[positives.place]) * positives.is_real).sum()
    divisor = num_positives.clamp(min=settings.min_negatives / ratio).sum()
    return LossSum(positive + negative, divisor.to(margins.dtype))


def box_loss(
    settings: BoxLossSettings,
    box_deltas: Float[Tensor, "P 4"],
    boxes: Float[Tensor, "P 4"],
    anchors: Float[Tensor, "P 4"],
) -> Float[Tensor, "P"]:
    """The loss on the box of each positive.

    giou: Rezatofighi et al., 2019; diou and ciou: Zheng et al., 2020. Those of torchvision wait for the device.

    Args:
        settings: kind of loss.
        box_deltas: what the network says.
        boxes: the faces, xyxy in pixels of the network input.
        anchors: cx, cy, w, h in the same pixels.
    """
    if isinstance(settings, SmoothL1Settings):
        wanted = encode_boxes(boxes, anchors)
        return F.smooth_l1_loss(box_deltas, wanted, reduction="none", beta=settings.beta).sum(dim=1)
    predicted = decode_boxes(box_deltas, anchors)
    iou, union = _iou_and_union(predicted, boxes)
    hull = torch.maximum(predicted[:, 2:], boxes[:, 2:]) - torch.minimum(predicted[:, :2], boxes[:, :2])  # around both
    if settings.name == "giou":
        hull_area = hull.prod(dim=1) + _EPSILON
        return 1 - iou + (hull_area - union) / hull_area
    between = (predicted[:, :2] + predicted[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    loss = 1 - iou + (between**2).sum(dim=1) / ((hull**2).sum(dim=1) + _EPSILON)
    if settings.name == "ciou":
        angles = [torch.atan2(*(box[:, 2:] - box[:, :2]).unbind(dim=1)) for box in (predicted, boxes)]
        shape = (2 / math.pi * (angles[0] - angles[1])) ** 2
        loss = loss + shape**2 / (1 - iou + shape + _EPSILON)
    return loss


def _iou_and_union(boxes_a: Float[Tensor, "P 4"], boxes_b: Float[Tensor, "P 4"]) -> tuple[Tensor, Tensor]:
    """(P,) intersection over union of each box of the first with the same box of the second, and the union."""
    low = torch.maximum(boxes_a[:, :2], boxes_b[:, :2])
    high = torch.minimum(boxes_a[:, 2:], boxes_b[:, 2:])
    intersection = (high - low).clamp(min=0).prod(dim=1)
    union = box_area(boxes_a) + box_area(boxes_b) - intersection + _EPSILON
    return intersection / union, union


def landmark_loss(
    settings: LandmarkLossSettings, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]
) -> Float[Tensor, "P 5"]:
    """The loss on each point of each positive, from what the network says and what it should say, both encoded."""
    if isinstance(settings, SmoothL1Settings):
        return F.smooth_l1_loss(landmark_deltas, wanted, reduction="none", beta=settings.beta).sum(dim=2)
    width, curvature = settings.width, settings.curvature
    error = (landmark_deltas - wanted).abs()
    gap = width - width * math.log1p(width / curvature)
    return torch.where(error < width, width * torch.log1p(error / curvature), error - gap).sum(dim=2)
