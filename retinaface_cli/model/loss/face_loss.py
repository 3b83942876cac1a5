"""The loss of RetinaFace: boxes, face or background, and landmarks, after matching; always in float32 or better."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import decode_boxes, encode_landmarks
from retinaface_cli.model.loss.classification import LossSum, build_classification_loss
from retinaface_cli.model.loss.regression import aligned_iou, build_box_loss, build_landmark_loss
from retinaface_cli.model.matching.anchor_grid import anchor_grid
from retinaface_cli.model.matching.matchers import build_matcher
from retinaface_cli.model.matching.targets import FaceTargets, Matches, Positives, collect_positives
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.loss import LossSettings
from retinaface_cli.settings.network import AnchorSettings


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


class FaceLoss:
    """The loss of a batch against its true faces.

    Boxes and classes are divided by the number of positive anchors, landmarks by a fifth of the number of known points;
    both are counted over all processes, and what comes out is such that its mean over the processes is the loss of one
    process with all the images. DistributedDataParallel takes that mean of the gradients.
    """

    def __init__(
        self, settings: LossSettings, anchors: AnchorSettings, *, matched_anchors: AnchorSettings | None = None
    ) -> None:
        """Makes the loss.

        Args:
            settings: of its parts.
            anchors: that the outputs refer to.
            matched_anchors: the same anchors with the sizes by which they are matched; None: their own.
        """
        self.settings = settings
        self.anchors = anchors
        self.matched_anchors = matched_anchors or anchors
        self._match = build_matcher(settings.matching)
        self._box_loss = build_box_loss(settings.box)
        self._classification_loss = build_classification_loss(settings.classification)
        self._landmark_loss = build_landmark_loss(settings.landmarks)

    def __call__(self, outputs: HeadOutputs, targets: FaceTargets, *, image_size: tuple[int, int]) -> LossValues:
        """The loss.

        Args:
            outputs: of the network for images of one size.
            targets: their faces.
            image_size: (height, width) of the network input in pixels.
        """
        with torch.autocast(outputs.class_logits.device.type, enabled=False):
            device = outputs.class_logits.device
            grid = anchor_grid(image_size, self.matched_anchors, device)
            matches = self._match(targets, grid, batch_size=len(outputs.class_logits))
            anchors = generate_anchors(image_size, self.anchors.sizes, self.anchors.strides, device)
            positives = collect_positives(matches, targets, anchors)
            return self._weigh(*_normalize(self._sum_parts(outputs, matches, positives)))

    def _sum_parts(self, outputs: HeadOutputs, matches: Matches, positives: Positives) -> list[LossSum]:
        """Sums and counts of box, classification and landmark loss over the batch of this process."""
        box_deltas = _at_least_float32(outputs.box_deltas.flatten(0, 1)[positives.place])  # (P, 4)
        landmark_deltas = _at_least_float32(outputs.landmark_deltas.flatten(0, 1)[positives.place])  # (P, 5, 2)
        logits = _at_least_float32(outputs.class_logits)
        margins = logits[..., 1] - logits[..., 0]  # (B, A)
        if self._classification_loss.wants_quality:
            predicted = decode_boxes(box_deltas.detach(), positives.anchors)
            positives = positives._replace(quality=aligned_iou(predicted, positives.boxes))
        box = self._box_loss(box_deltas, positives.boxes, positives.anchors)
        points = self._landmark_loss(landmark_deltas, encode_landmarks(positives.landmarks, positives.anchors))
        return [
            LossSum((box * positives.is_real).sum(), positives.is_real.sum()),
            self._classification_loss(margins, matches, positives),
            LossSum((points * positives.has_landmarks).sum(), positives.has_landmarks.sum() / NUM_LANDMARKS),
        ]

    def _weigh(self, box: Tensor, classification: Tensor, landmarks: Tensor) -> LossValues:
        weights = self.settings.weights
        total = weights.localization * box + weights.classification * classification + weights.landmarks * landmarks
        return LossValues(total, box, classification, landmarks)


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
