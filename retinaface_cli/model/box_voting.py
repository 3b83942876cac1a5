"""Box voting: a face is where all the boxes say that suppression takes for the same face, not where the best one says.

After Gidaris and Komodakis, 2015 (arXiv 1505.01749, section 5).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retinaface_cli.geometry.boxes import pairwise_iou

_MAX_PAIRS = 1 << 22
"""Pairs of kept box and voter that are compared at once."""


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

    Args:
        values: coordinates of the candidates: boxes, landmarks, or both.
        boxes: of the candidates, as suppression compared them.
        scores: of the candidates, in [0, 1].
        kept: candidates that suppression kept, best first. A dropped one has its vote on the first that it overlaps.
        iou_threshold: overlap above which suppression dropped them.
        power: of the score in the weight; the higher, the less the weaker boxes count.
    """
    if len(kept) == 0:
        return values[kept]
    weights = scores**power
    shift = torch.zeros_like(values[kept])  # from the kept box, which is a small number even where coordinates are not
    total = torch.zeros_like(scores[kept])
    step = max(1, _MAX_PAIRS // len(kept))
    for voters in (slice(start, start + step) for start in range(0, len(boxes), step)):
        is_over = pairwise_iou(boxes[kept], boxes[voters]) > iou_threshold  # (M, part of K)
        chosen = is_over.int().argmax(dim=0)
        weight = weights[voters] * is_over.any(dim=0)
        total.index_add_(0, chosen, weight)
        shift.index_add_(0, chosen, (values[voters] - values[kept][chosen]) * weight[:, None])
    return values[kept] + shift / total.clamp(min=1e-12)[:, None]
