"""A network made ready to run fast: the same function as the trained one, for upright uint8 RGB pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.geometry.anchors import generate_anchors, padded_size
from retinaface_cli.model.folding import fold_batch_norm
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.model.retinaface import RetinaFace
from retinaface_cli.settings.network import NetworkSettings, PreprocessingSettings


class InferenceNetwork(nn.Module):
    """BatchNorm folded, channels last, standard deviation and channel order folded into the first convolution.

    Only the mean is left to be subtracted, on the device: with zero padding in the convolution it cannot be folded.
    """

    mean: Tensor

    def __init__(
        self, network: RetinaFace, settings: NetworkSettings, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.settings = settings
        folded = fold_batch_norm(network)
        _fold_preprocessing(folded, settings.preprocessing)
        self.network = folded.to(device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_(False)
        mean = settings.preprocessing.mean
        in_rgb = mean if settings.preprocessing.color_order == "rgb" else mean[::-1]
        self.register_buffer("mean", torch.tensor(in_rgb, dtype=torch.float32, device=device))
        self.dtype = dtype

    def forward(self, images: Sequence[npt.NDArray[np.uint8]]) -> tuple[HeadOutputs, Float[Tensor, "A 4"]]:
        """Runs pictures (H, W, 3) uint8 RGB as one batch.

        Pictures of one size go in as they are; different sizes are padded to the right and bottom with the mean colour.

        Returns:
            The outputs, and the anchors (cx, cy, w, h) that they refer to, in pixels of the batch.
        """
        batch = self._collate(images)
        height, width = batch.shape[2:]
        anchors = self.settings.anchors
        return self.network(batch), generate_anchors(
            (height, width), anchors.sizes, anchors.strides, device=self.mean.device
        )

    def _collate(self, images: Sequence[npt.NDArray[np.uint8]]) -> Float[Tensor, "B 3 H W"]:
        """One batch in channels-last memory, mean subtracted; padding is 0, which is the mean colour."""
        sizes = {image.shape[:2] for image in images}
        tensors = [torch.from_numpy(image).to(self.mean.device, non_blocking=True) for image in images]
        if len(sizes) == 1:
            batch = torch.stack(tensors).float().sub_(self.mean)  # (B, H, W, 3)
        else:
            height, width = padded_size((max(size[0] for size in sizes), max(size[1] for size in sizes)))
            batch = self.mean.new_zeros(len(images), height, width, 3)
            for row, tensor in zip(batch, tensors, strict=True):
                torch.sub(tensor, self.mean, out=row[: tensor.shape[0], : tensor.shape[1]])
        return batch.permute(0, 3, 1, 2).to(self.dtype)


def _fold_preprocessing(network: RetinaFace, preprocessing: PreprocessingSettings) -> None:
    """Makes the first convolution take RGB - mean instead of (ordered - mean) / std."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        std = torch.tensor(preprocessing.std).reshape(1, 3, 1, 1)
        weight = first.weight / std
        first.weight.copy_(weight if preprocessing.color_order == "rgb" else weight.flip(1))
