"""Head outputs -> faces: threshold, top-k, decoding of what is left, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torchvision
from jaxtyping import Float, Int64
from torch import Tensor

from retinaface_cli.faces import FaceDetections
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.model.outputs import HeadOutputs


@dataclass(frozen=True)
class PostprocessOptions:
    """Which detections are kept.

    Attributes:
        score_threshold: scores must be above it, in [0, 1].
        nms_iou_threshold: a box that overlaps a better one by more is dropped, in [0, 1].
        nms_inclusive: count box sides as x2 - x1 + 1 in the overlap, as the old WIDER evaluation scripts do.
        pre_nms_top_k: number of best candidates that go into the suppression.
        keep_top_k: number of best faces that come out.
    """

    score_threshold: float = 0.7
    nms_iou_threshold: float = 0.4
    nms_inclusive: bool = False
    pre_nms_top_k: int = 20_000
    keep_top_k: int = 750


def postprocess(
    outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], options: PostprocessOptions
) -> list[FaceDetections]:
    """Turns outputs of a batch into faces in pixels of the network input, best first, one entry a picture.

    Everything is computed in float32, whatever the precision of the outputs.
    """
    margins = outputs.class_logits[..., 1].float() - outputs.class_logits[..., 0].float()
    scores = torch.sigmoid(margins)  # (B, A), the softmax of two classes
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
    """The faces of one picture."""
    candidates = torch.nonzero(scores > options.score_threshold)[:, 0]  # (K,)
    if len(candidates) > options.pre_nms_top_k:
        candidates = candidates[scores[candidates].topk(options.pre_nms_top_k).indices]
    boxes = decode_boxes(box_deltas[candidates].float(), anchors[candidates])
    kept = _suppress(boxes, scores[candidates], options)
    chosen = candidates[kept]
    landmarks = decode_landmarks(landmark_deltas[chosen].float(), anchors[chosen])
    return FaceDetections(
        boxes=boxes[kept].cpu().numpy(), landmarks=landmarks.cpu().numpy(), scores=scores[chosen].cpu().numpy()
    )


def _suppress(
    boxes: Float[Tensor, "K 4"], scores: Float[Tensor, "K"], options: PostprocessOptions
) -> Int64[Tensor, "M"]:
    """Indices of the boxes that stay, best first."""
    if options.nms_inclusive:
        boxes = boxes + boxes.new_tensor([0, 0, 1, 1])
    kept: Tensor = torchvision.ops.nms(boxes, scores, options.nms_iou_threshold)
    return kept[: options.keep_top_k]
