"""The anchors of a network input, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


def level_shapes(image_size: tuple[int, int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, columns) of each level's feature map for an input of (height, width) pixels."""
    height, width = image_size
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def padded_size(image_size: tuple[int, int], *, multiple: int = 32) -> tuple[int, int]:
    """(height, width) rounded up to multiples of the coarsest stride, as images in a mixed batch are padded."""
    height, width = (-(-side // multiple) * multiple for side in image_size)
    return height, width


@lru_cache(maxsize=64)
def cell_origins(
    image_size: tuple[int, int],
    nums_per_cell: tuple[int, ...],
    strides: tuple[int, ...],
    device: torch.device | None = None,
) -> Float[Tensor, "A 2"]:
    """Upper left corners (x, y) of the cells that the anchors of generate_anchors belong to, in its order and pixels.

    Cached and shared: do not write to it.
    """
    levels = []
    shapes = level_shapes(image_size, strides)
    for (rows, columns), num_per_cell, stride in zip(shapes, nums_per_cell, strides, strict=True):
        grid_y, grid_x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")  # (rows, columns)
        corners = torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2) * stride
        levels.append(corners.repeat_interleave(num_per_cell, dim=0))
    return torch.cat(levels).to(device=device, dtype=torch.float32)


@lru_cache(maxsize=64)
def generate_anchors(
    image_size: tuple[int, int],
    sizes: tuple[tuple[float, ...], ...],
    strides: tuple[int, ...],
    device: torch.device | None = None,
) -> Float[Tensor, "A 4"]:
    """Square anchors (cx, cy, w, h) in pixels of the network input, in the order of the network's outputs.

    The order is level, row, column, size. A centre lies in the middle of its cell; nothing is clipped. The result is
    cached and shared: do not write to it.

    Args:
        image_size: (height, width) of the network input.
        sizes: side lengths in pixels, a tuple a level.
        strides: pixels between cells, one a level.
        device: where the result is to lie; None is the CPU.
    """
    levels = []
    for (rows, columns), level_sizes, stride in zip(level_shapes(image_size, strides), sizes, strides, strict=True):
        y = (torch.arange(rows) + 0.5) * stride
        x = (torch.arange(columns) + 0.5) * stride
        side = torch.tensor(level_sizes, dtype=torch.float32)
        grid_y, grid_x, grid_side = torch.meshgrid(y, x, side, indexing="ij")  # (rows, columns, sizes)
        levels.append(torch.stack([grid_x, grid_y, grid_side, grid_side], dim=-1).reshape(-1, 4))
    return torch.cat(levels).to(device=device)
