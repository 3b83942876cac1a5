"""Anchors inside ignored faces, which are no background."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retinaface_cli.model.matching.anchor_grid import AnchorGrid
from retinaface_cli.model.matching.targets import FaceTargets


def mark_ignored(targets: FaceTargets, grid: AnchorGrid, *, batch_size: int) -> Bool[Tensor, "B A"]:
    """Whether an anchor's centre lies in an ignored face that is at least as large as the anchor.

    Faces smaller than the smallest anchor are taken to have its size, so that anchors on them are left out too. The
    cells inside are found without comparing: the corners of all faces are entered in a table of each level, and the
    table's running sums say how many faces cover a cell.
    """
    boxes = targets.boxes
    smallest = min(side for sizes in grid.settings.sizes for side in sizes)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=smallest)  # (F, 2)
    marks = []
    for shape, sizes, stride in zip(grid.shapes, grid.settings.sizes, grid.settings.strides, strict=True):
        counted = [targets.ignore & (size.amax(dim=1) >= side) for side in sizes]
        low = torch.ceil((middle - size / 2) / stride - 0.5)
        high = torch.floor((middle + size / 2) / stride - 0.5) + 1
        spans = torch.stack([low, high], dim=1).clamp(min=0)  # (F, first and past, x and y)
        counts = torch.stack(counted, dim=1).int()
        marks.append(_covered(spans, counts, targets.image_index, shape, batch_size))
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
