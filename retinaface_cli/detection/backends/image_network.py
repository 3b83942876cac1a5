"""The network from RGB images to raw outputs, in the shape in which it is handed to other libraries."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.inference import fold_batch_norm, fold_preprocessing
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.model.networks.retinaface import RetinaFace

_HEAD_SIZES = (2, 4, 2 * NUM_LANDMARKS)
"""Values an anchor of the parts of HeadOutputs."""


class ImageNetwork(nn.Module):
    """The folded network with one head a level that does the work of three."""

    mean: Tensor

    def __init__(self, weights: LoadedWeights) -> None:
        super().__init__()
        preprocessing = weights.network.preprocessing
        network = fold_preprocessing(fold_batch_norm(weights.build()), preprocessing)
        assert isinstance(network, RetinaFace)
        self.network = network
        self.nums_per_cell = weights.network.anchors.nums_per_cell
        heads = (self.network.class_heads, self.network.box_heads, self.network.landmark_heads)
        self.heads = nn.ModuleList(_concatenate(level) for level in zip(*heads, strict=True))
        self.register_buffer("mean", torch.tensor(preprocessing.mean_rgb)[:, None, None])

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> HeadOutputs:
        """The outputs for images of one size."""
        planes = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W): OpenVINO subtracts much faster so
        levels = self.network.features(planes - self.mean)
        merged = [head(level).permute(0, 2, 3, 1) for head, level in zip(self.heads, levels, strict=True)]
        logits, boxes, points = (
            torch.cat([values.reshape(values.shape[0], -1, size) for values in part], dim=1)  # (B, A, size)
            for part, size in zip(self._split(merged), _HEAD_SIZES, strict=True)
        )
        return HeadOutputs(logits, boxes, points.reshape(points.shape[0], -1, NUM_LANDMARKS, 2))

    def _split(self, merged: Sequence[Float[Tensor, "B rows columns K"]]) -> Iterator[list[Tensor]]:
        """The part of each head, all levels."""
        parts = (
            torch.split(values, [size * num for size in _HEAD_SIZES], dim=-1)
            for values, num in zip(merged, self.nums_per_cell, strict=True)
        )
        return map(list, zip(*parts, strict=True))


def _concatenate(convolutions: Sequence[nn.Module]) -> nn.Conv2d:
    """One 1x1 convolution that gives the outputs of several one after another."""
    states = [one.state_dict() for one in convolutions]
    weight, bias = (torch.cat([state[name] for state in states]) for name in ("weight", "bias"))
    merged = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    merged.load_state_dict({"weight": weight, "bias": bias})
    return merged


def example_image() -> UInt8[Tensor, "1 H W 3"]:
    """An image to go through the network once, so that its operations can be written down."""
    return torch.zeros(1, 64, 96, 3, dtype=torch.uint8)


def trace(weights: LoadedWeights) -> torch.jit.ScriptModule:
    """ImageNetwork as a graph for images of any size."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of itself and of each size that is read
        network = ImageNetwork(weights).eval()
        return torch.jit.trace(network, example_image(), check_trace=False)  # type: ignore[no-any-return,no-untyped-call]
