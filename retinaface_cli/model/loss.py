"""The loss of RetinaFace: boxes, face or background, and landmarks, after matching; always in float32 or better."""

from __future__ import annotations

import torch

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.boxes import decode_boxes, encode_landmarks
from retinaface_cli.model.anchor_grid import anchor_grid
from retinaface_cli.model.box_loss import aligned_iou, build_box_loss
from retinaface_cli.model.classification_loss import build_classification_loss
from retinaface_cli.model.landmark_loss import build_landmark_loss
from retinaface_cli.model.loss_parts import (
    LossSum,
    LossValues,
    Positives,
    at_least_float32,
    collect_positives,
    weigh_sums,
)
from retinaface_cli.model.matching import build_matcher
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.model.targets import FaceTargets, Matches
from retinaface_cli.settings.loss import LossSettings
from retinaface_cli.settings.network import AnchorSettings


class FaceLoss:
    """The loss of a batch against its true faces.

    Boxes and classes are divided by the number of positive anchors, landmarks by a fifth of the number of known points;
    both are counted over all processes, and what comes out is such that its mean over the processes is the loss of one
    process with all the pictures. DistributedDataParallel takes that mean of the gradients.
    """

    def __init__(self, settings: LossSettings, anchors: AnchorSettings) -> None:
        self.settings = settings
        self.anchors = anchors
        self._match = build_matcher(settings.matching)
        self._box_loss = build_box_loss(settings.box)
        self._classification_loss = build_classification_loss(settings.classification)
        self._landmark_loss = build_landmark_loss(settings.landmarks)

    def __call__(self, outputs: HeadOutputs, targets: FaceTargets, *, image_size: tuple[int, int]) -> LossValues:
        """The loss.

        Args:
            outputs: of the network for pictures of one size.
            targets: their faces.
            image_size: (height, width) of the network input in pixels.
        """
        with torch.autocast(outputs.class_logits.device.type, enabled=False):
            grid = anchor_grid(image_size, self.anchors, outputs.class_logits.device)
            matches = self._match(targets, grid, batch_size=len(outputs.class_logits))
            positives = collect_positives(matches, targets, grid.anchors)
            return weigh_sums(self._sum_parts(outputs, matches, positives), self.settings.weights)

    def _sum_parts(self, outputs: HeadOutputs, matches: Matches, positives: Positives) -> list[LossSum]:
        """Sums and counts of box, classification and landmark loss over the batch of this process."""
        box_deltas = at_least_float32(outputs.box_deltas.flatten(0, 1)[positives.place])  # (P, 4)
        landmark_deltas = at_least_float32(outputs.landmark_deltas.flatten(0, 1)[positives.place])  # (P, 5, 2)
        logits = at_least_float32(outputs.class_logits)
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
