"""Box voting: a face is where all the boxes say that suppression takes for the same face, not where the best one says.

After Gidaris and Komodakis, 2015 (arXiv 1505.01749, section 5).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retinaface_cli.geometry.boxes import pairwise_iou

_MAX_PAIRS = 1 << 18
"""Pairs of kept box and voter that are compared at once, few enough for the processor's cache."""


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
        values: V coordinates of each of K candidates: box, landmarks, or both, in pixels.
        boxes: of the candidates, xyxy in pixels, as suppression compared them.
        scores: of the candidates, in [0, 1].
        kept: the M candidates that suppression kept, best first. A dropped one votes for the first that it overlaps.
        iou_threshold: overlap above which suppression dropped them.
        power: of the score in the weight; the higher, the less the weaker boxes count.
    """
    if len(kept) == 0:
        return values[kept]
    step = max(1, _MAX_PAIRS // len(kept))
    parts = (boxes[start : start + step] for start in range(0, len(boxes), step))
    chosen = torch.cat([_first_overlapped(part, boxes[kept], iou_threshold) for part in parts])  # (K,)
    voters = torch.nonzero(chosen < len(kept))[:, 0]
    chosen, weights = chosen[voters], scores[voters] ** power
    shift = torch.zeros_like(values[kept])  # from the kept box, which is a small number even where coordinates are not
    shift.index_add_(0, chosen, (values[voters] - values[kept][chosen]) * weights[:, None])
    total = torch.zeros_like(scores[kept]).index_add_(0, chosen, weights)
    return values[kept] + shift / total.clamp(min=1e-12)[:, None]


def _first_overlapped(
    voters: Float[Tensor, "P 4"], kept: Float[Tensor, "M 4"], iou_threshold: float
) -> Int64[Tensor, "P"]:
    """The first kept box that each voter overlaps by more than the threshold; M where there is none."""
    is_over = pairwise_iou(kept, voters) > iou_threshold  # (M, P)
    rank = torch.arange(len(kept), device=kept.device, dtype=torch.int32)[:, None]
    return torch.where(is_over, rank, len(kept)).amin(dim=0).long()
