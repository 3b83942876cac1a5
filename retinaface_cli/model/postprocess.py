"""Head outputs -> faces: threshold, top-k, decoding of what is left, non-maximum suppression."""

from __future__ import annotations

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.faces import NUM_LANDMARKS, FaceDetections
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.model.box_voting import vote_boxes
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.settings.detection import DetectionSettings

_VOTE_POWER = 3
"""Of the score in box voting; measured on WIDER FACE, 1 to 6 are all better than no voting, 3 is best on hard faces."""


def postprocess(
    outputs: HeadOutputs, anchors: Float[Tensor, "A 4"], settings: DetectionSettings
) -> list[FaceDetections]:
    """Turns outputs of a batch into faces in pixels of the network input, best first, one entry an image.

    Everything is computed in float32, whatever the precision of the outputs.
    """
    scores = torch.sigmoid(face_logits(outputs))  # (B, A)
    return [
        _select_faces(scores[i], outputs.box_deltas[i], outputs.landmark_deltas[i], anchors, settings)
        for i in range(len(scores))
    ]


def _select_faces(
    scores: Float[Tensor, "A"],
    box_deltas: Float[Tensor, "A 4"],
    landmark_deltas: Float[Tensor, "A 5 2"],
    anchors: Float[Tensor, "A 4"],
    settings: DetectionSettings,
) -> FaceDetections:
    """The faces of one image."""
    candidates = torch.nonzero(scores > settings.score_threshold)[:, 0]  # (K,)
    if len(candidates) > settings.pre_nms_top_k:
        candidates = candidates[scores[candidates].topk(settings.pre_nms_top_k).indices]
    boxes = decode_boxes(box_deltas[candidates].float(), anchors[candidates])
    compared = boxes + boxes.new_tensor([0, 0, 1, 1]) if settings.nms_inclusive else boxes
    kept = torchvision.ops.nms(compared, scores[candidates], settings.nms_iou_threshold)[: settings.keep_top_k]
    landmarks = decode_landmarks(landmark_deltas[candidates].float(), anchors[candidates])
    values = torch.cat([boxes, landmarks.flatten(1)], dim=1)  # (K, 14)
    if settings.votes:
        iou_threshold = settings.nms_iou_threshold
        values = vote_boxes(values, compared, scores[candidates], kept, iou_threshold=iou_threshold, power=_VOTE_POWER)
    else:
        values = values[kept]
    values = values.cpu()
    return FaceDetections(
        boxes=values[:, :4].numpy(),
        landmarks=values[:, 4:].reshape(-1, NUM_LANDMARKS, 2).numpy(),
        scores=scores[candidates[kept]].cpu().numpy(),
    )
