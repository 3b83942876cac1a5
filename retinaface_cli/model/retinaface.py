"""RetinaFace (Deng et al., 2019): backbone, feature pyramid, context modules and three heads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.model.backbones import BACKBONES
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.settings.network import NetworkSettings

HEAD_SIZES = (2, 4, 2 * NUM_LANDMARKS)
"""Values an anchor of the parts of HeadOutputs."""

CELLS_PER_SIDE = 2
"""Cells of stride 4 along a side of one of stride 8."""

ImageSize = tuple[int, int] | tuple[Tensor, Tensor]
"""Height and width in pixels; tensors while a network is traced, which is how the graph comes to fit any size."""


def _conv_bn(in_channels: int, out_channels: int, kernel: int, *, slope: float | None) -> nn.Sequential:
    """Convolution, BatchNorm and, unless slope is None, a leaky ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if slope is not None:
        layers.append(nn.LeakyReLU(slope, inplace=True))
    return nn.Sequential(*layers)


def leaky_slope(out_channels: int) -> float:
    """Slope of the activations of pyramid and context: the narrow networks were trained with leaky ones."""
    return 0.1 if out_channels <= 64 else 0.0


class FeaturePyramid(nn.Module):
    """Top-down feature pyramid: 1x1 laterals, nearest upsampling, 3x3 merges; the coarsest level is not merged."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        slope = leaky_slope(out_channels)
        self.lateral = nn.ModuleList(_conv_bn(channels, out_channels, 1, slope=slope) for channels in in_channels)
        self.merge = nn.ModuleList(_conv_bn(out_channels, out_channels, 3, slope=slope) for _ in range(2))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Three maps, fine to coarse, to three of out_channels each, sizes as they came."""
        fine, middle, coarse = (lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True))
        middle = self.merge[1](middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge[0](fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class ContextModule(nn.Module):
    """SSH context (Najibi et al., 2017): receptive fields of 3, 5 and 7 cells side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter, slope = channels // 2, channels // 4, leaky_slope(channels)
        self.conv3x3 = _conv_bn(channels, half, 3, slope=None)
        self.conv5x5_1 = _conv_bn(channels, quarter, 3, slope=slope)
        self.conv5x5_2 = _conv_bn(quarter, quarter, 3, slope=None)
        self.conv7x7_2 = _conv_bn(quarter, quarter, 3, slope=slope)
        self.conv7x7_3 = _conv_bn(quarter, quarter, 3, slope=None)

    def forward(self, feature: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """The same shape with context mixed in."""
        shared = self.conv5x5_1(feature)
        branches = [self.conv3x3(feature), self.conv5x5_2(shared), self.conv7x7_3(self.conv7x7_2(shared))]
        # each branch on its own: the gradient of a part of a concatenation is a view, which BatchNorm is slow to take
        return torch.cat([F.relu(branch) for branch in branches], dim=1)


class Heads(NamedTuple):
    """The 1x1 convolutions of one level; of each the output channels are anchors x values."""

    classes: nn.Module
    boxes: nn.Module
    landmarks: nn.Module


class FineLevel(nn.Module):
    """A level of stride 4 for the smallest faces, computed on cells of stride 8: each of these speaks for four.

    The other levels do not know of it, so it can be added to a network that is trained already. On cells of stride 4 it
    would cost much more.
    """

    def __init__(self, in_channels: int, pyramid_channels: int, channels: int, *, num_anchors_per_cell: int) -> None:
        super().__init__()
        self._slope = leaky_slope(channels)
        self.lateral = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.top_down = _conv_bn(pyramid_channels, channels, 1, slope=None)
        self.merge = _conv_bn(channels, channels, 3, slope=self._slope)
        self.class_head, self.box_head, self.landmark_head = (
            nn.Conv2d(channels, num_anchors_per_cell * values * CELLS_PER_SIDE**2, 1) for values in HEAD_SIZES
        )

    @property
    def heads(self) -> Heads:
        """Its heads; what they give is for spread_cells."""
        return Heads(self.class_head, self.box_head, self.landmark_head)

    def outputs(self, level: Float[Tensor, "B C2 H2 W2"], *, image_size: ImageSize) -> HeadOutputs:
        """The raw outputs for images of (H, W), from what forward gives for them."""
        return _as_outputs(spread_cells(head(level), image_size) for head in self.heads)

    def forward(
        self, feature: Float[Tensor, "B C H W"], above: Float[Tensor, "B P H2 W2"]
    ) -> Float[Tensor, "B C2 H2 W2"]:
        """What the heads look at, from the backbone's map of stride 4 and the pyramid's of stride 8."""
        joined = F.leaky_relu(self.lateral(feature) + self.top_down(above), self._slope)
        merged: Tensor = self.merge(joined)
        return merged


def level_outputs(heads: Heads, level: Float[Tensor, "B C H W"]) -> HeadOutputs:
    """The raw outputs of a level of stride 8, 16 or 32."""
    return _as_outputs(head(level) for head in heads)


def spread_cells(values: Float[Tensor, "B C4 H2 W2"], image_size: ImageSize) -> Float[Tensor, "B C H W"]:
    """What a head of the fine level gives for images of (H, W) pixels, in cells of stride 8, laid out in those of 4."""
    rows, columns = ((side + 3) // 4 for side in image_size)  # ONNX rounds quotients below 0 up
    return F.pixel_shuffle(values, CELLS_PER_SIDE)[..., :rows, :columns]


def _as_outputs(maps: Iterable[Float[Tensor, "B AK rows columns"]]) -> HeadOutputs:
    """The outputs of a level's three heads with an anchor a row: rows first, then columns, then sizes."""
    logits, boxes, points = (
        values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, size)  # (B, rows * columns * sizes, size)
        for values, size in zip(maps, HEAD_SIZES, strict=True)
    )
    return HeadOutputs(logits, boxes, points.reshape(points.shape[0], -1, NUM_LANDMARKS, 2))


class RetinaFace(nn.Module):
    """The whole network; see HeadOutputs for what it returns."""

    def __init__(
        self,
        backbone: str,
        *,
        out_channels: int | None = None,
        fine_channels: int | None = None,
        num_anchors_per_cell: int = 2,
    ) -> None:
        super().__init__()
        entry = BACKBONES[backbone]
        width = out_channels or entry.out_channels
        self.backbone = entry.build()
        self.pyramid = FeaturePyramid(entry.channels[1:], width)
        self.context = nn.ModuleList(ContextModule(width) for _ in range(3))
        self.class_heads, self.box_heads, self.landmark_heads = (
            nn.ModuleList(nn.Conv2d(width, num_anchors_per_cell * values, 1) for _ in range(3)) for values in HEAD_SIZES
        )
        self.fine: FineLevel | None = None
        if fine_channels is not None:
            self.fine = FineLevel(entry.channels[0], width, fine_channels, num_anchors_per_cell=num_anchors_per_cell)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Normalised images of any size to raw outputs for the anchors of geometry.generate_anchors((H, W), ...)."""
        levels = self.features(images)
        outputs = [level_outputs(heads, level) for heads, level in zip(self.coarse_heads, levels[-3:], strict=True)]
        if self.fine is not None:
            outputs.insert(0, self.fine.outputs(levels[0], image_size=(images.shape[2], images.shape[3])))
        return HeadOutputs(*(torch.cat(parts, dim=1) for parts in zip(*outputs, strict=True)))

    @property
    def coarse_heads(self) -> list[Heads]:
        """The heads of the levels of strides 8, 16 and 32."""
        return [Heads(*level) for level in zip(self.class_heads, self.box_heads, self.landmark_heads, strict=True)]

    @property
    def heads(self) -> list[Heads]:
        """The heads of each level, fine to coarse."""
        return self.coarse_heads if self.fine is None else [self.fine.heads, *self.coarse_heads]

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The maps that the heads look at, fine to coarse; that of a fine level has stride 8, as the one after it."""
        finest, *features = self.backbone(images)
        levels = self.pyramid(features)
        looked_at = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return looked_at if self.fine is None else [self.fine(finest, levels[0]), *looked_at]


def build_network(settings: NetworkSettings) -> RetinaFace:
    """The network that the settings describe, randomly initialised."""
    return RetinaFace(
        settings.backbone,
        out_channels=settings.out_channels,
        fine_channels=settings.fine_channels if settings.anchors.has_fine_level else None,
        num_anchors_per_cell=settings.anchors.num_per_cell,
    )
