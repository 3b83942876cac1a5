"""The loss of a fine level that learns from what the network itself finds on the picture at twice the size.

Distillation (Hinton et al., 2015) from the level of stride 8 there, whose cells and anchors are those of the fine
level, with two corrections from the labels: what the teacher takes for a face counts only where a labelled face is, and
the more, the better the learner's own box fits that face (as in Li et al., 2020, "Generalized Focal Loss").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from retinaface_cli.geometry.boxes import decode_boxes, pairwise_iou
from retinaface_cli.model.anchor_grid import anchor_grid
from retinaface_cli.model.box_loss import aligned_iou
from retinaface_cli.model.loss_parts import LossSum, LossValues, at_least_float32, weigh_sums
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.model.targets import FaceTargets
from retinaface_cli.settings.loss import LossWeights
from retinaface_cli.settings.network import AnchorSettings

_CANDIDATE_SCORE = 0.1
"""Score above which the teacher's faces are compared with the labels; lower ones are learned as they are."""

_SAME_FACE_IOU = 0.35
"""Overlap of the teacher's box with a labelled one from which they are the same face; tiny boxes are rarely close."""

_WORST_IOU, _BEST_IOU = 0.2, 0.5
"""Overlaps of the learner's box with the labelled one at which the score that it is to have begins and is full."""


class _Candidates(NamedTuple):
    """The C anchors that the teacher may take for faces.

    Attributes:
        place: (C,) where in the flattened (B, A) anchors.
        anchors: (C, 4) cx, cy, w, h.
        score: (C,) the teacher's, 0 where no labelled face is.
        faces: (C, 4) the labelled boxes that overlap the teacher's most, xyxy.
    """

    place: Int64[Tensor, "C"]
    anchors: Float[Tensor, "C 4"]
    score: Float[Tensor, "C"]
    faces: Float[Tensor, "C 4"]


class FineLevelLoss:
    """The loss of the fine level's outputs against those of its teacher, in float32 or better.

    The classification is divided by the sum of the teacher's scores, boxes and landmarks by that of those that count;
    both are sums over all processes.
    """

    def __init__(self, weights: LossWeights, anchors: AnchorSettings) -> None:
        """Takes the weights of the parts, and the anchors of the whole network."""
        self._weights = weights
        self._anchors = anchors

    def __call__(
        self, learned: HeadOutputs, taught: HeadOutputs, targets: FaceTargets, *, image_size: tuple[int, int]
    ) -> LossValues:
        """The loss.

        Args:
            learned: of the fine level alone, for pictures of one size.
            taught: of the level of stride 8 for the same pictures at twice the size; without gradient.
            targets: the faces in the pictures; ignored ones are faces, too.
            image_size: (height, width) in pixels of the pictures, before they are enlarged.
        """
        with torch.autocast(learned.class_logits.device.type, enabled=False):
            learned, taught = (HeadOutputs(*map(at_least_float32, outputs)) for outputs in (learned, taught))
            wanted = torch.sigmoid(_margins(taught))  # (B, A)
            candidates = self._find_candidates(taught, wanted, targets, image_size)
            boxes = learned.box_deltas.flatten(0, 1)[candidates.place]
            fit = aligned_iou(decode_boxes(boxes.detach(), candidates.anchors), candidates.faces)
            fit = ((fit - _WORST_IOU) / (_BEST_IOU - _WORST_IOU)).clamp(0, 1)
            seen = wanted.sum()
            wanted.view(-1)[candidates.place] = candidates.score * fit
            classification = F.binary_cross_entropy_with_logits(_margins(learned), wanted, reduction="sum")
            box, landmarks = _sum_positions(learned, taught, candidates)
            return weigh_sums([box, LossSum(classification, seen), landmarks], self._weights)

    def _find_candidates(
        self, taught: HeadOutputs, scores: Float[Tensor, "B A"], targets: FaceTargets, image_size: tuple[int, int]
    ) -> _Candidates:
        """The teacher's likely faces, with the labelled ones that they are."""
        place = torch.nonzero(scores.flatten() > _CANDIDATE_SCORE)[:, 0]
        num_anchors = scores.shape[1]
        anchors = anchor_grid(image_size, self._anchors, scores.device).anchors[place % num_anchors]
        found = decode_boxes(taught.box_deltas.flatten(0, 1)[place], anchors)
        nowhere = found.new_zeros(1, 4)  # an empty box, so that there is always one to compare with
        faces = torch.cat([targets.boxes.to(found), nowhere])
        image_index = torch.cat([targets.image_index, targets.image_index.new_full((1,), -1)])
        is_same_picture = image_index == (place // num_anchors)[:, None]
        overlap, best = (pairwise_iou(found, faces) * is_same_picture).max(dim=1)
        return _Candidates(place, anchors, scores.flatten()[place] * (overlap > _SAME_FACE_IOU), faces[best])


def _margins(outputs: HeadOutputs) -> Float[Tensor, "B A"]:
    """Logits of face against background."""
    return outputs.class_logits[..., 1] - outputs.class_logits[..., 0]


def _sum_positions(learned: HeadOutputs, taught: HeadOutputs, candidates: _Candidates) -> tuple[LossSum, LossSum]:
    """Sums of box and landmark loss over the batch of this process."""
    weight = candidates.score
    box, points = (
        F.smooth_l1_loss(own.flatten(0, 1)[candidates.place], other.flatten(0, 1)[candidates.place], reduction="none")
        for own, other in (
            (learned.box_deltas, taught.box_deltas),
            (learned.landmark_deltas, taught.landmark_deltas),
        )
    )
    return (
        LossSum((box.sum(dim=1) * weight).sum(), weight.sum()),
        LossSum((points.sum(dim=(1, 2)) * weight).sum(), weight.sum()),
    )
