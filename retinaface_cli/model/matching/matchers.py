"""Matching: which anchors are positive for which face, which are background, and which are left out.

All images of a batch are matched at once, and nothing waits for the device: shapes follow from the settings and from
the number of faces.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from retinaface_cli.model.matching.anchor_grid import (
    AnchorGrid,
    Candidates,
    find_best,
    find_nearest,
    find_overlapping,
    num_overlapping,
)
from retinaface_cli.model.matching.targets import FaceTargets, Matches
from retinaface_cli.settings.loss import AtssMatchingSettings, IouMatchingSettings, MatchingSettings

MAX_PAIRS = 1 << 22
"""Pairs of face and anchor that are compared at once, 16 MB a tensor of them; more faces are gone through in parts."""

_INDEX_BITS = 32
_MAX_INDEX = (1 << _INDEX_BITS) - 1
_TOUCHING = _MAX_INDEX + 1
"""Ranks of overlaps above 0 are at least this."""

_FORCED = 0x40000000 << _INDEX_BITS
"""Puts a rank above all IoUs: the bits of 1.0 are 0x3F800000, and the sum of both still fits 31 bits."""


@torch.no_grad()
def match_anchors(targets: FaceTargets, grid: AnchorGrid, settings: MatchingSettings, *, batch_size: int) -> Matches:
    """Gives the faces of a batch of images, which all have the grid's size, to anchors."""
    table = _AnchorTable(batch_size, grid.num_anchors, targets)
    if isinstance(settings, AtssMatchingSettings):
        num_entered = _enter_nearest(table, targets, grid, settings)
        lowest_positive = lowest_covered = _TOUCHING
    else:
        num_entered = _enter_overlapping(table, targets, grid, settings)
        lowest_positive = _lowest_rank(settings.match_iou_threshold)
        lowest_covered = _lowest_rank(settings.background_iou_threshold)
    face_rank, ignored_rank = table.read()
    is_background = face_rank < lowest_covered
    if targets.may_have_ignored():
        is_background &= ignored_rank < lowest_covered
        is_background &= ~_mark_ignored(targets, grid, batch_size=batch_size)
    face_index = torch.where(face_rank >= lowest_positive, _MAX_INDEX - (face_rank & _MAX_INDEX), -1)
    return Matches(face_index, is_background, max_positives=min(num_entered, face_rank.numel()))


def _enter_overlapping(
    table: _AnchorTable, targets: FaceTargets, grid: AnchorGrid, settings: IouMatchingSettings
) -> int:
    """Matching by overlap with a threshold, and the best anchor of each face; gives a bound on the positives.

    An anchor goes to the face that overlaps it most. But the best anchor of a face is forced to that face; of two faces
    with one best anchor, the one that overlaps it more has it. What is still equal goes to the face that comes first.
    """
    num_candidates = num_overlapping(grid, settings.background_iou_threshold)
    for part in _parts(len(targets.boxes), num_candidates):
        boxes = targets.boxes[part].float()
        near = find_overlapping(boxes, grid, settings.background_iou_threshold)
        table.enter(part, near.anchor_index, near.iou)
        best = find_best(boxes, grid, settings.forced_iou_threshold)
        best_iou, anchor_index = _unrank(_rank(best.iou, best.anchor_index).amax(dim=1, keepdim=True))  # (F, 1)
        is_forced = (best_iou >= settings.forced_iou_threshold) & ~targets.ignore[part, None]
        table.enter(part, anchor_index, best_iou * is_forced, lead=_FORCED)
    return len(targets.boxes) * (1 + num_candidates)


def _enter_nearest(table: _AnchorTable, targets: FaceTargets, grid: AnchorGrid, settings: AtssMatchingSettings) -> int:
    """Adaptive matching after Zhang et al., 2020 (arXiv 1912.02424, section 3.2); gives a bound on the positives.

    An anchor is positive for a face when it is among the nearest of its level, its centre lies in the face, and its IoU
    reaches mean plus standard deviation of the IoUs of all candidates. Of several such faces it takes the one that
    overlaps it most, then the first.
    """
    num_candidates = settings.num_nearest * len(grid.levels)
    for part in _parts(len(targets.boxes), num_candidates):
        boxes = targets.boxes[part].float()
        near = find_nearest(boxes, grid, settings.num_nearest)
        table.enter(part, near.anchor_index, near.iou * _is_adaptive_match(boxes, near, grid))
    return len(targets.boxes) * num_candidates


def _is_adaptive_match(boxes: Float[Tensor, "F 4"], near: Candidates, grid: AnchorGrid) -> Bool[Tensor, "F K"]:
    """Which candidates of each face reach the face's own threshold and have their centre in it."""
    count = near.is_anchor.sum(dim=1, keepdim=True)
    mean = near.iou.sum(dim=1, keepdim=True) / count
    squares = ((near.iou - mean) ** 2 * near.is_anchor).sum(dim=1, keepdim=True)
    threshold = mean + (squares / (count - 1).clamp(min=1)).sqrt()
    centers = grid.anchors[near.anchor_index][..., :2]  # (F, K, 2)
    is_inside = ((centers > boxes[:, None, :2]) & (centers < boxes[:, None, 2:])).all(dim=-1)
    return near.is_anchor & is_inside & (near.iou >= threshold)


class _AnchorTable:
    """The rank of the best face that was entered for each anchor of a batch, whatever the order of entering.

    Ignored faces are kept apart from the others.
    """

    def __init__(self, batch_size: int, num_anchors: int, targets: FaceTargets) -> None:
        self._shape = (2, batch_size, num_anchors)
        self._targets = targets
        self._ranks = targets.image_index.new_zeros(2 * batch_size * num_anchors)

    def enter(self, part: slice, anchor_index: Tensor, iou: Tensor, *, lead: int = 0) -> None:
        """Enters the overlaps (F, K) of the faces of a part with anchors (F, K).

        `lead` is added to the ranks of overlaps above 0, so that these entries go before others whatever their IoU.
        """
        image_index = self._targets.image_index[part] + self._targets.ignore[part] * self._shape[1]
        place = image_index[:, None] * self._shape[2] + anchor_index
        faces = torch.arange(part.start, part.stop, device=place.device)[:, None]
        ranks = _rank(iou, faces)
        if lead:
            ranks += lead * (iou > 0)
        self._ranks.scatter_reduce_(0, place.flatten(), ranks.flatten(), "amax")

    def read(self) -> Int64[Tensor, "2 B A"]:
        """The best ranks of faces, and of ignored faces; under _TOUCHING where none overlaps."""
        return self._ranks.view(self._shape)


def _rank(iou: Tensor, index: Tensor) -> Tensor:
    """Int64 numbers in the order of float32 IoUs; of equal IoUs the lower index ranks higher.

    The bits of floats from 0 up, read as integers, are in the order of the floats; they become the upper half.
    """
    upper = iou.view(torch.int32).long().bitwise_left_shift_(_INDEX_BITS)
    return upper.bitwise_or_(_MAX_INDEX - index)


def _unrank(rank: Tensor) -> tuple[Tensor, Tensor]:
    """IoUs and indices from what _rank made of them."""
    return (rank >> _INDEX_BITS).int().view(torch.float32), _MAX_INDEX - (rank & _MAX_INDEX)


def _lowest_rank(iou: float) -> int:
    """The lowest rank that a face with this IoU can have."""
    return int(np.float32(iou).view(np.int32)) << _INDEX_BITS


def _parts(num_faces: int, num_candidates: int) -> Iterator[slice]:
    """Cuts the faces into parts of at most MAX_PAIRS comparisons."""
    length = max(1, MAX_PAIRS // num_candidates)
    for start in range(0, num_faces, length):
        yield slice(start, min(start + length, num_faces))


def _mark_ignored(targets: FaceTargets, grid: AnchorGrid, *, batch_size: int) -> Bool[Tensor, "B A"]:
    """Whether an anchor's centre lies in an ignored face that is at least as large as the anchor.

    Faces smaller than the smallest anchor are taken to have its size, so that anchors on them are left out too. The
    cells inside are found without comparing: the corners of all faces are entered in a table of each level, and the
    table's running sums say how many faces cover a cell.
    """
    boxes = targets.boxes
    smallest = min(side for level in grid.levels for side in level.sides)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=smallest)  # (F, 2)
    marks = []
    for level in grid.levels:
        counted = [targets.ignore & (size.amax(dim=1) >= side) for side in level.sides]
        low = torch.ceil((middle - size / 2) / level.stride - 0.5)
        high = torch.floor((middle + size / 2) / level.stride - 0.5) + 1
        spans = torch.stack([low, high], dim=1).clamp(min=0)  # (F, first and past, x and y)
        counts = torch.stack(counted, dim=1).int()
        marks.append(_covered(spans, counts, targets.image_index, (level.rows, level.columns), batch_size))
    return torch.cat(marks, dim=1)


def _covered(
    spans: Float[Tensor, "F 2 2"],
    counts: Int[Tensor, "F S"],
    image_index: Int[Tensor, "F"],
    shape: tuple[int, int],
    batch_size: int,
) -> Bool[Tensor, "B K"]:
    """The cells of one level inside spans [first, past), for each of S sizes; K is rows, columns and sizes in order."""
    rows, columns = shape
    x = spans[..., 0].clamp(max=columns).long()  # (F, 2)
    y = spans[..., 1].clamp(max=rows).long()
    place = (image_index[:, None, None] * (rows + 1) + y[:, :, None]) * (columns + 1) + x[:, None, :]  # (F, 2, 2)
    signs = torch.tensor([[1, -1], [-1, 1]], dtype=counts.dtype, device=counts.device)
    table = counts.new_zeros(batch_size * (rows + 1) * (columns + 1), counts.shape[1])
    table.index_add_(0, place.flatten(), (signs[..., None] * counts[:, None, None]).flatten(0, 2))
    table = table.view(batch_size, rows + 1, columns + 1, -1).cumsum(dim=1).cumsum(dim=2)
    return (table[:, :rows, :columns] > 0).flatten(1)
