"""RetinaFace (Deng et al., 2019): backbone, feature pyramid, context modules and three heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.model.networks.backbones import FeatureMaps, crop_to_image, find_backbone, pad_to_whole_cells
from retinaface_cli.model.networks.outputs import FaceNetwork, HeadOutputs
from retinaface_cli.settings.network import NetworkSettings


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

    def __init__(self, in_channels: tuple[int, int, int], out_channels: int) -> None:
        super().__init__()
        slope = leaky_slope(out_channels)
        self.lateral = nn.ModuleList(_conv_bn(channels, out_channels, 1, slope=slope) for channels in in_channels)
        self.merge = nn.ModuleList(_conv_bn(out_channels, out_channels, 3, slope=slope) for _ in range(2))

    def forward(self, features: FeatureMaps) -> FeatureMaps:
        """Three maps of out_channels each, fine to coarse, sizes as they came."""
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


class RetinaFace(FaceNetwork):
    """The whole network, randomly initialised."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        entry = find_backbone(settings.backbone)
        width = settings.out_channels or entry.out_channels
        self.backbone = entry.build()
        self.pads_images = entry.needs_whole_cells
        self._strides = settings.anchors.strides
        self.pyramid = FeaturePyramid(entry.channels, width)
        self.context = nn.ModuleList(ContextModule(width) for _ in range(3))
        self.class_heads, self.box_heads, self.landmark_heads = (
            nn.ModuleList(nn.Conv2d(width, num * num_values, 1) for num in settings.anchors.nums_per_cell)
            for num_values in (2, 4, NUM_LANDMARKS * 2)
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Normalised images of any size to raw outputs for the anchors of geometry.generate_anchors((H, W), ...)."""
        levels = self.features(images)
        points = _collect(self.landmark_heads, levels, NUM_LANDMARKS * 2)
        return HeadOutputs(
            class_logits=_collect(self.class_heads, levels, 2),
            box_deltas=_collect(self.box_heads, levels, 4),
            landmark_deltas=points.reshape(*points.shape[:2], NUM_LANDMARKS, 2),
        )

    @torch.no_grad()
    def set_class_prior(self, probability: float) -> None:
        """Sets the biases of the class heads; see FaceNetwork."""
        margin = math.log(probability / (1 - probability))
        for head in self.class_heads.children():
            assert isinstance(head, nn.Conv2d) and head.bias is not None
            background_and_face = head.bias.view(-1, 2)  # (sizes, 2)
            background_and_face[:, 0], background_and_face[:, 1] = -margin / 2, margin / 2

    def with_merged_heads(self) -> nn.Module:
        """The network with one head a level that does the work of three; see FaceNetwork."""
        return _MergedHeads(self)

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The maps that the heads look at, fine to coarse."""
        levels = self.pyramid(self.backbone(pad_to_whole_cells(images) if self.pads_images else images))
        levels = [context(level) for context, level in zip(self.context, levels, strict=True)]
        if not self.pads_images:
            return levels
        return [crop_to_image(level, images, stride) for level, stride in zip(levels, self._strides, strict=True)]


def _collect(heads: nn.ModuleList, levels: list[Tensor], num_values: int) -> Float[Tensor, "B A K"]:
    """Runs one head a level and lays the outputs out as (B, anchors, values), fine level first."""
    outputs = [
        head(level).permute(0, 2, 3, 1).reshape(level.shape[0], -1, num_values)  # (B, rows * columns * sizes, values)
        for head, level in zip(heads, levels, strict=True)
    ]
    return torch.cat(outputs, dim=1)


_HEAD_SIZES = (2, 4, 2 * NUM_LANDMARKS)
"""Values an anchor of the parts of HeadOutputs."""


class _MergedHeads(nn.Module):
    """RetinaFace with one head a level, whose channels are those of the three heads one after another."""

    def __init__(self, network: RetinaFace) -> None:
        super().__init__()
        self.network = network
        heads = (network.class_heads, network.box_heads, network.landmark_heads)
        self.heads = nn.ModuleList(_concatenate(level) for level in zip(*heads, strict=True))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """The outputs of the network."""
        levels = self.network.features(images)
        merged = [head(level).permute(0, 2, 3, 1) for head, level in zip(self.heads, levels, strict=True)]
        logits, boxes, points = (
            torch.cat([values.reshape(values.shape[0], -1, size) for values in part], dim=1)  # (B, A, size)
            for part, size in zip(self._split(merged), _HEAD_SIZES, strict=True)
        )
        return HeadOutputs(logits, boxes, points.reshape(points.shape[0], -1, NUM_LANDMARKS, 2))

    def _split(self, merged: list[Tensor]) -> Iterator[list[Tensor]]:
        """The part of each head, all levels; `merged` is (B, rows, columns, K) each."""
        parts = (
            torch.split(values, [size * (values.shape[-1] // sum(_HEAD_SIZES)) for size in _HEAD_SIZES], dim=-1)
            for values in merged
        )
        return map(list, zip(*parts, strict=True))


def _concatenate(convolutions: Sequence[nn.Module]) -> nn.Conv2d:
    """One 1x1 convolution that gives the outputs of several one after another."""
    states = [one.state_dict() for one in convolutions]
    weight, bias = (torch.cat([state[name] for state in states]) for name in ("weight", "bias"))
    merged = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    merged.load_state_dict({"weight": weight, "bias": bias})
    return merged
