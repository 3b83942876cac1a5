"""The anchors of one input size as grids, so that those near a face are found by arithmetic instead of search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from retinaface_cli.geometry.anchors import generate_anchors, level_shapes
from retinaface_cli.settings.network import AnchorSettings


class GridTable(NamedTuple):
    """Several grids side by side, each field a tensor of one number a grid (or, once picked, a grid and face).

    The anchor in row i and column j of grid g is number first[g] + (i * columns[g] + j) * step, and its centre is
    ((j + .5) * stride[g], (i + .5) * stride[g]).

    Attributes:
        side: float, side of the anchors in pixels.
        stride: float, pixels between cells.
        rows: int, number of rows.
        columns: int, number of columns.
        first: int, number of the first anchor.
    """

    side: Tensor
    stride: Tensor
    rows: Tensor
    columns: Tensor
    first: Tensor

    def pick(self, index: Tensor) -> GridTable:
        """The grids at an index of any shape; the fields take on its shape."""
        return GridTable(*(field[index] for field in self))


@dataclass(frozen=True, eq=False)
class AnchorGrid:
    """All anchors of a network input, in the ways that matching looks at them.

    Attributes:
        anchors: (A, 4) cx, cy, w, h in pixels of the network input, in the order of the network's outputs.
        by_size: one grid an anchor size, small to large.
        by_level: one grid a level, fine to coarse: its anchors of the first size.
        step: anchors a cell.
        shapes: (rows, columns) of each level, fine to coarse.
        settings: sizes and strides.
    """

    anchors: Tensor
    by_size: GridTable
    by_level: GridTable
    step: int
    shapes: tuple[tuple[int, int], ...]
    settings: AnchorSettings

    @property
    def num_anchors(self) -> int:
        """Number A of anchors."""
        return len(self.anchors)


@lru_cache(maxsize=64)
def anchor_grid(image_size: tuple[int, int], settings: AnchorSettings, device: torch.device) -> AnchorGrid:
    """The grids for a network input of (height, width) pixels; cached and shared, so never to be written to."""
    shapes = level_shapes(image_size, settings.strides)
    step, first, levels = settings.num_per_cell, 0, []
    for (rows, columns), sizes, stride in zip(shapes, settings.sizes, settings.strides, strict=True):
        levels.append([(side, stride, rows, columns, first + slot) for slot, side in enumerate(sizes)])
        first += rows * columns * step
    return AnchorGrid(
        anchors=generate_anchors(image_size, settings.sizes, settings.strides, device),
        by_size=_table(sorted(grid for level in levels for grid in level), device),
        by_level=_table([level[0] for level in levels], device),
        step=step,
        shapes=tuple(shapes),
        settings=settings,
    )


def _table(grids: Sequence[tuple[float, int, int, int, int]], device: torch.device) -> GridTable:
    side, stride, *counts = torch.tensor(grids, dtype=torch.float64, device=device).unbind(dim=1)
    return GridTable(side.float(), stride.float(), *(count.long() for count in counts))
