"""The network from RGB images to raw outputs, in the shape in which it is handed to other libraries."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.networks.inference import fold_batch_norm, fold_preprocessing
from retinaface_cli.model.networks.outputs import HeadOutputs


class ImageNetwork(nn.Module):
    """The folded network with as few layers as it can do with."""

    mean: Tensor

    def __init__(self, weights: LoadedWeights, *, is_padded: bool = False) -> None:
        """Takes weights; is_padded: whether images always come with sides that the network need not pad."""
        super().__init__()
        preprocessing = weights.network.preprocessing
        network = fold_preprocessing(fold_batch_norm(weights.build()), preprocessing)
        network.pads_images &= not is_padded
        self.network = network.with_merged_heads()
        self.register_buffer("mean", torch.tensor(preprocessing.mean_rgb)[:, None, None])

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> HeadOutputs:
        """The outputs for images of one size."""
        planes = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W): OpenVINO subtracts much faster so
        outputs: HeadOutputs = self.network(planes - self.mean)
        return outputs


def example_image(size: tuple[int, int] | None = None) -> UInt8[Tensor, "1 H W 3"]:
    """An image of (height, width) to go through the network once, so that its operations can be written down."""
    return torch.zeros(1, *(size or (64, 96)), 3, dtype=torch.uint8)


def trace(weights: LoadedWeights, *, is_padded: bool) -> torch.jit.ScriptModule:
    """ImageNetwork as a graph for images of any size."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of itself and of each size that is read
        network = ImageNetwork(weights, is_padded=is_padded).eval()
        return torch.jit.trace(network, example_image(), check_trace=False)  # type: ignore[no-any-return,no-untyped-call]
