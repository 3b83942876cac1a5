"""Head outputs -> faces: threshold, top-k, decoding of what is left, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.faces import NUM_LANDMARKS, FaceDetections
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.model.box_voting import vote_boxes
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits

_VOTE_POWER = 3
"""Of the score in box voting; measured on WIDER FACE, 1 to 6 are all better than no voting, 3 is best on hard faces."""


@dataclass(frozen=True)
class PostprocessOptions:
    """Which detections are kept.

    Attributes:
        score_threshold: scores must be above it, in [0, 1].
        nms_iou_threshold: a box that overlaps a better one by more is dropped, in [0, 1].
        nms_inclusive: count box sides as x2 - x1 + 1 in the overlap, as the old WIDER evaluation scripts do.
        box_voting: give each face the mean of the boxes and landmarks that were dropped for it; see box_voting.
        pre_nms_top_k: number of best candidates that go into the suppression.
        keep_top_k: number of best faces that come out.
    """

    score_threshold: float = 0.7
    nms_iou_threshold: float = 0.4
    nms_inclusive: bool = False
    box_voting: bool = False
    pre_nms_top_k: int = 20_000
    keep_top_k: int = 750


def postprocess(
    outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], options: PostprocessOptions
) -> list[FaceDetections]:
    """Turns outputs of a batch into faces in pixels of the network input, best first, one entry an image.

    Everything is computed in float32, whatever the precision of the outputs.
    """
    scores = torch.sigmoid(face_logits(outputs))  # (B, A)
    return [
        _select_faces(scores[i], outputs.box_deltas[i], outputs.landmark_deltas[i], anchors, options)
        for i in range(len(scores))
    ]


def _select_faces(
    scores: Float[Tensor, "A"],
    box_deltas: Float[Tensor, "A 4"],
    landmark_deltas: Float[Tensor, "A 5 2"],
    anchors: Float[Tensor, "A 4"],
    options: PostprocessOptions,
) -> FaceDetections:
    """The faces of one image."""
    candidates = torch.nonzero(scores > options.score_threshold)[:, 0]  # (K,)
    if len(candidates) > options.pre_nms_top_k:
        candidates = candidates[scores[candidates].topk(options.pre_nms_top_k).indices]
    boxes = decode_boxes(box_deltas[candidates].float(), anchors[candidates])
    compared = boxes + boxes.new_tensor([0, 0, 1, 1]) if options.nms_inclusive else boxes
    kept = torchvision.ops.nms(compared, scores[candidates], options.nms_iou_threshold)[: options.keep_top_k]
    landmarks = decode_landmarks(landmark_deltas[candidates].float(), anchors[candidates])
    values = torch.cat([boxes, landmarks.flatten(1)], dim=1)  # (K, 14)
    if options.box_voting:
        iou_threshold = options.nms_iou_threshold
        values = vote_boxes(values, compared, scores[candidates], kept, iou_threshold=iou_threshold, power=_VOTE_POWER)
    else:
        values = values[kept]
    values = values.cpu()
    return FaceDetections(
        boxes=values[:, :4].numpy(),
        landmarks=values[:, 4:].reshape(-1, NUM_LANDMARKS, 2).numpy(),
        scores=scores[candidates[kept]].cpu().numpy(),
    )
