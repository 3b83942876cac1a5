"""The anchors of one input size as grids, and those among them that a face is compared with.

A face can only overlap anchors of about its own size that lie around it. So each face is compared with a window of
cells of the few grids that can reach the smallest IoU of interest; the result is that of comparing all with all.
Shapes follow from the settings alone, so that nothing waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retinaface_cli.geometry.anchors import generate_anchors, level_shapes
from retinaface_cli.geometry.boxes import box_area, cxcywh_to_xyxy, pairwise_iou
from retinaface_cli.settings.network import AnchorSettings

_ROUNDING = 1e-4
"""Widening of windows, relative to areas and strides, against rounding."""


class GridTable(NamedTuple):
    """Several grids side by side, each field a tensor of one number a grid (or, once picked, a grid and face).

    The anchor in row i and column j of grid g is number first[g] + (i * columns[g] + j) * step[g], and its centre is
    ((j + .5) * stride[g], (i + .5) * stride[g]).

    Attributes:
        side: float, side of the anchors in pixels.
        stride: float, pixels between cells.
        rows: int, number of rows.
        columns: int, number of columns.
        first: int, number of the first anchor.
        step: int, anchors a cell.
    """

    side: Tensor
    stride: Tensor
    rows: Tensor
    columns: Tensor
    first: Tensor
    step: Tensor

    def pick(self, index: Tensor) -> GridTable:
        """The grids at an index of any shape; the fields take on its shape."""
        return GridTable(*(field[index] for field in self))


class Level(NamedTuple):
    """The cells of one level, in the terms of GridTable; `sides` of the anchors at each, in pixels."""

    sides: tuple[float, ...]
    stride: int
    rows: int
    columns: int
    first: int


@dataclass(frozen=True, eq=False)
class AnchorGrid:
    """All anchors of a network input, in the ways that matching looks at them.

    Attributes:
        anchors: (A, 4) cx, cy, w, h in pixels of the network input, in the order of the network's outputs.
        by_size: one grid an anchor size, small to large.
        levels: fine to coarse.
    """

    anchors: Tensor
    by_size: GridTable
    levels: tuple[Level, ...]

    @property
    def num_anchors(self) -> int:
        """Number A of anchors."""
        return len(self.anchors)


@lru_cache(maxsize=64)
def anchor_grid(image_size: tuple[int, int], settings: AnchorSettings, device: torch.device) -> AnchorGrid:
    """The grids for a network input of (height, width) pixels; cached and shared, so never to be written to."""
    first, levels = 0, []
    shapes = level_shapes(image_size, settings.strides)
    for sides, stride, (rows, columns) in zip(settings.sizes, settings.strides, shapes, strict=True):
        levels.append(Level(sides, stride, rows, columns, first))
        first += rows * columns * len(sides)
    return AnchorGrid(
        anchors=generate_anchors(image_size, settings.sizes, settings.strides, device),
        by_size=_table_by_size(levels, device),
        levels=tuple(levels),
    )


def _table_by_size(levels: Sequence[Level], device: torch.device) -> GridTable:
    grids = sorted(
        (side, level.stride, level.rows, level.columns, level.first + slot, len(level.sides))
        for level in levels
        for slot, side in enumerate(level.sides)
    )
    side, stride, *counts = torch.tensor(grids, dtype=torch.float64, device=device).unbind(dim=1)
    return GridTable(side.float(), stride.float(), *(count.long() for count in counts))


class Candidates(NamedTuple):
    """The K anchors that each of F faces is compared with.

    Attributes:
        anchor_index: (F, K) numbers of anchors in an image.
        iou: (F, K) overlap with the face; 0 for places without an anchor.
        is_anchor: (F, K) False where fewer than K anchors were to be had.
    """

    anchor_index: Int64[Tensor, "F K"]
    iou: Float[Tensor, "F K"]
    is_anchor: Bool[Tensor, "F K"]


def num_overlapping(grid: AnchorGrid, min_iou: float) -> int:
    """Length K of find_overlapping's result: a bound on the anchors that overlap a face by min_iou."""
    num_sizes, side = _window_shape(grid, min_iou)
    return num_sizes * side * side


def find_overlapping(boxes: Float[Tensor, "F 4"], grid: AnchorGrid, min_iou: float) -> Candidates:
    """All anchors whose IoU with a face is at least min_iou, and others."""
    window = _open_windows(boxes, grid, min_iou)
    intersection = window.oy[..., :, None] * window.ox[..., None, :]  # (F, S, rows, columns)
    iou = intersection / (window.area[..., None, None] - intersection)
    anchor_index = window.row_first[..., :, None] + window.column_first[..., None, :]
    is_anchor = intersection > 0
    return Candidates(anchor_index.flatten(1), iou.flatten(1), is_anchor.flatten(1))


def find_best(boxes: Float[Tensor, "F 4"], grid: AnchorGrid, min_iou: float) -> Candidates:
    """The best anchor of each size for each face, where its IoU is at least min_iou; else any other.

    Among anchors of one size the overlap in area is largest where those along both axes are; of equal ones the first.
    """
    window = _open_windows(boxes, grid, min_iou)
    ox, column = window.ox.max(dim=-1, keepdim=True)
    oy, row = window.oy.max(dim=-1, keepdim=True)
    intersection = (ox * oy)[..., 0]  # (F, S)
    anchor_index = (window.row_first.gather(-1, row) + window.column_first.gather(-1, column))[..., 0]
    return Candidates(anchor_index, intersection / (window.area - intersection), intersection > 0)


class _Windows(NamedTuple):
    """A square of W x W cells of each of S sizes for each of F faces.

    Attributes:
        row_first: (F, S, W) number of the first anchor in a row.
        column_first: (F, S, W) what a column adds to it.
        oy: (F, S, W) how many pixels of an anchor's height lie in the face; 0 outside the grid.
        ox: (F, S, W) the same of its width.
        area: (F, S) of face and anchor together.
    """

    row_first: Int64[Tensor, "F S W"]
    column_first: Int64[Tensor, "F S W"]
    oy: Float[Tensor, "F S W"]
    ox: Float[Tensor, "F S W"]
    area: Float[Tensor, "F S"]


def _open_windows(boxes: Float[Tensor, "F 4"], grid: AnchorGrid, min_iou: float) -> _Windows:
    """Windows that hold all anchors whose IoU with a face is at least min_iou."""
    num_sizes, width = _window_shape(grid, min_iou)
    area = box_area(boxes)[:, None]  # (F, 1)
    smallest = torch.searchsorted(grid.by_size.side**2, area * (min_iou * (1 - _ROUNDING)))  # (F, 1)
    size_index = smallest + torch.arange(num_sizes, device=boxes.device)  # (F, S)
    num_all = len(grid.by_size.side)
    grids = grid.by_size.pick(size_index.clamp(max=num_all - 1))
    reach = grids.side * _reach(min_iou)
    columns, ox = _overlap_1d(boxes[:, 0::2], reach, grids, grids.columns, width)
    rows, oy = _overlap_1d(boxes[:, 1::2], reach, grids, grids.rows, width)
    return _Windows(
        row_first=grids.first[..., None] + rows * (grids.columns * grids.step)[..., None],
        column_first=columns * grids.step[..., None],
        oy=oy * (size_index < num_all)[..., None],
        ox=ox,
        area=area + grids.side**2,
    )


def _overlap_1d(
    spans: Float[Tensor, "F 2"],
    reach: Float[Tensor, "F S"],
    grids: GridTable,
    num_cells: Int64[Tensor, "F S"],
    window: int,
) -> tuple[Int64[Tensor, "F S W"], Float[Tensor, "F S W"]]:
    """Rows (or columns) of the windows, and how many pixels of each anchor's height (or width) lie in the face."""
    centers = spans.mean(dim=1, keepdim=True)
    start = torch.ceil((centers - reach) / grids.stride - 0.5 - _ROUNDING)
    start = torch.minimum(start.clamp(min=0), (num_cells - window).clamp(min=0))  # windows stay in the grid
    cells = start.long()[..., None] + torch.arange(window, device=spans.device)  # (F, S, W)
    middle = (cells + 0.5) * grids.stride[..., None]
    half = grids.side[..., None] / 2
    overlap = torch.minimum(middle + half, spans[:, None, 1:]) - torch.maximum(middle - half, spans[:, None, :1])
    last = num_cells[..., None] - 1
    return torch.minimum(cells, last), overlap.clamp(min=0) * (cells <= last)


def _window_shape(grid: AnchorGrid, min_iou: float) -> tuple[int, int]:
    """Number of neighbouring sizes, and side of the window in cells, that hold all anchors with that IoU.

    IoU is at most the smaller area over the larger, so the areas of such anchors differ by 1 / min_iou**2 at most.
    """
    widest = [
        min(math.floor(2 * side * _reach(min_iou) / level.stride + 2 * _ROUNDING) + 1, max(level.rows, level.columns))
        if min_iou > 0
        else max(level.rows, level.columns)
        for level in grid.levels
        for side in level.sides
    ]
    sides = sorted(side for level in grid.levels for side in level.sides)
    ratio = (1 + _ROUNDING) / min_iou if min_iou > 0 else math.inf
    return max(sum(side <= other <= side * ratio for other in sides) for side in sides), max(widest)


def _reach(min_iou: float) -> float:
    """How far, in anchor sides, the centre of an anchor can be from that of a face along an axis at that IoU.

    An anchor of side 1 and a face of width w and height h overlap by at least min_iou * max(1, w * h) in area, so by
    that over min(1, h) in width; the distance (1 + w) / 2 minus this is largest at h = 1 and w = 1 or w = 1 / min_iou.
    """
    return max(1 - min_iou, (1 / min_iou - 1) / 2) if min_iou > 0 else math.inf


def find_nearest(boxes: Float[Tensor, "F 4"], grid: AnchorGrid, num_a_level: int) -> Candidates:
    """The anchors of each level with the nearest centres; of equally near ones those that come first."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = [_find_nearest_of_level(centers, level, num_a_level) for level in grid.levels]
    anchor_index, is_anchor = (torch.cat(parts, dim=1) for parts in zip(*nearest, strict=True))
    anchors = cxcywh_to_xyxy(grid.anchors[anchor_index])
    iou = pairwise_iou(boxes[:, None], anchors)[:, 0] * is_anchor
    return Candidates(anchor_index, iou, is_anchor)


def _find_nearest_of_level(
    centers: Float[Tensor, "F 2"], level: Level, num_anchors: int
) -> tuple[Int64[Tensor, "F K"], Bool[Tensor, "F K"]]:
    """Numbers of the anchors nearest to each centre, 0 in places without one, and which places have one."""
    step = len(level.sides)
    window = -(-num_anchors // step)  # the nearest n cells lie in n rows and n columns
    columns, dx = _distance_1d(centers[:, 0], level.stride, level.columns, window)
    rows, dy = _distance_1d(centers[:, 1], level.stride, level.rows, window)
    distance = (dy[:, :, None] ** 2 + dx[:, None, :] ** 2).flatten(1)  # (F, window * window)
    distance, order = (part[:, :window] for part in distance.sort(dim=1, stable=True))
    cells = (rows[:, :, None] * level.columns + columns[:, None, :]).flatten(1).gather(1, order)
    slots = torch.arange(step, device=centers.device)
    anchor_index = (level.first + cells * step)[..., None] + slots  # (F, window, slots)
    anchor_index = anchor_index.flatten(1)[:, :num_anchors]
    is_anchor = distance.isfinite().repeat_interleave(step, dim=1)[:, :num_anchors]
    return torch.where(is_anchor, anchor_index, 0), is_anchor


def _distance_1d(
    centers: Float[Tensor, "F"], stride: int, num_cells: int, window: int
) -> tuple[Int64[Tensor, "F W"], Float[Tensor, "F W"]]:
    """Rows (or columns) of the windows around the centres, and their distance in pixels, infinite outside the grid."""
    start = torch.ceil(centers / stride - 0.5 - window / 2).clamp(min=0, max=max(num_cells - window, 0))
    cells = start.long()[:, None] + torch.arange(window, device=centers.device)  # (F, W)
    distance = ((cells + 0.5) * stride - centers[:, None]).abs()
    return cells, torch.where(cells < num_cells, distance, torch.inf)
