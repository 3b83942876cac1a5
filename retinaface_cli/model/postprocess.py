"""Head outputs -> faces: threshold, top-k, decoding of what is left, non-maximum suppression."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retinaface_cli.faces import NUM_LANDMARKS, FaceDetections
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks, pairwise_iou
from retinaface_cli.geometry.suppression import nms
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.settings.detection import DetectionSettings

_VOTE_POWER = 3
"""Of the score in box voting; measured on WIDER FACE, 1 to 6 are all better than no voting, 3 is best on hard faces."""

_STRIP = 256
"""Voters that are compared at once, with the kept boxes between their left and right ends alone."""

_FIRST_SHARE = 6
"""Candidates for each face that may be kept, among which suppression looks first."""


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
    iou_threshold = settings.nms_iou_threshold
    kept = suppress(compared, scores[candidates], iou_threshold=iou_threshold, max_kept=settings.keep_top_k)
    landmarks = decode_landmarks(landmark_deltas[candidates].float(), anchors[candidates])
    values = torch.cat([boxes, landmarks.flatten(1)], dim=1)  # (K, 14)
    if settings.votes:
        of_voters = values.cpu(), compared.cpu(), scores[candidates].cpu(), kept.cpu()
        values = vote_boxes(*of_voters, iou_threshold=iou_threshold, power=_VOTE_POWER)
    else:
        values = values[kept].cpu()
    return FaceDetections(
        boxes=values[:, :4].numpy(),
        landmarks=values[:, 4:].reshape(-1, NUM_LANDMARKS, 2).numpy(),
        scores=scores[candidates[kept]].cpu().numpy(),
    )


def suppress(
    boxes: Float[Tensor, "K 4"], scores: Float[Tensor, "K"], *, iou_threshold: float, max_kept: int
) -> Int64[Tensor, "M"]:
    """Non-maximum suppression: the best boxes of which no two overlap by more than the threshold, best first.

    What is kept depends on better boxes alone, so that those of a crowd need not all be compared.
    """
    num_compared = _FIRST_SHARE * max_kept
    if len(boxes) > num_compared:
        best = scores.argsort(descending=True, stable=True)[:num_compared]
        kept = best[nms(boxes[best], scores[best], iou_threshold)]
        if len(kept) >= max_kept:
            return kept[:max_kept]
    return nms(boxes, scores, iou_threshold)[:max_kept]


def vote_boxes(
    values: Float[Tensor, "K V"],
    boxes: Float[Tensor, "K 4"],
    scores: Float[Tensor, "K"],
    kept: Int64[Tensor, "M"],
    *,
    iou_threshold: float,
    power: int,
) -> Float[Tensor, "M V"]:
    """Means of coordinates over each kept box and those that were dropped for it, weighted by score.

    After Gidaris and Komodakis, 2015 (arXiv 1505.01749, section 5). Tensors are on the CPU.

    Args:
        values: V coordinates of each of K candidates: box, landmarks, or both, in pixels.
        boxes: of the candidates, xyxy in pixels, as suppression compared them.
        scores: of the candidates, in [0, 1].
        kept: the M candidates that suppression kept, best first. A dropped one votes for the first that it overlaps.
        iou_threshold: overlap above which suppression dropped them.
        power: of the score in the weight; the higher, the less the weaker boxes count.
    """
    if len(kept) == 0:
        return values[kept]
    chosen = _first_overlapped(boxes, boxes[kept], iou_threshold)
    voters = torch.nonzero(chosen < len(kept))[:, 0]
    chosen, weights = chosen[voters], scores[voters] ** power
    shift = torch.zeros_like(values[kept])  # from the kept box, which is a small number even where coordinates are not
    shift.index_add_(0, chosen, (values[voters] - values[kept][chosen]) * weights[:, None])
    total = torch.zeros_like(scores[kept]).index_add_(0, chosen, weights)
    return values[kept] + shift / total.clamp(min=1e-12)[:, None]


def _first_overlapped(
    voters: Float[Tensor, "K 4"], kept: Float[Tensor, "M 4"], iou_threshold: float
) -> Int64[Tensor, "K"]:
    """The first kept box that each voter overlaps by more than the threshold; M where there is none."""
    chosen = torch.full((len(voters),), len(kept))
    from_left = voters[:, 0].argsort()
    for start in range(0, len(voters), _STRIP):
        strip = from_left[start : start + _STRIP]
        part = voters[strip]
        near = torch.nonzero((kept[:, 0] < part[:, 2].max()) & (kept[:, 2] > part[0, 0]))[:, 0]
        if len(near) > 0:
            is_over = pairwise_iou(kept[near], part) > iou_threshold
            chosen[strip] = torch.where(is_over, near[:, None].int(), len(kept)).amin(dim=0).long()
    return chosen
