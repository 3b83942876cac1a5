"""A network made ready to run fast: the same function as the trained one, for upright uint8 RGB images."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from retinaface_cli.geometry.anchors import cell_origins, generate_anchors, padded_size
from retinaface_cli.model.networks.outputs import FaceNetwork, HeadOutputs
from retinaface_cli.model.networks.timm_backbones import own_modules
from retinaface_cli.settings.network import NetworkSettings, PreprocessingSettings

Module = TypeVar("Module", bound=nn.Module)


class InferenceNetwork(nn.Module):
    """BatchNorm folded, channels last, standard deviation and channel order folded into the first convolution.

    Only the mean is left to be subtracted, on the device: with zero padding in the convolution it cannot be folded.

    Every batch is padded to the right and bottom to multiples of 32, so that few shapes occur and images of different
    sizes go together. Before each layer that looks beyond its cell the padding is set to zero again, which is what the
    layer's own padding would be; so each image's outputs are those that it has alone and unpadded. A network that pads
    images itself has that padding left.

    Several threads may call it at once.
    """

    mean: Tensor

    def __init__(
        self, network: FaceNetwork, settings: NetworkSettings, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.settings = settings
        folded = fold_preprocessing(fold_batch_norm(network), settings.preprocessing)
        if device.type == "cpu":
            use_pair_maxima(folded)
            if _runs_in_onednn(dtype):
                use_onednn(folded)
        self.network = folded.to(device=device, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_(False)
        self._sees_padding, self.network.pads_images = network.pads_images, False
        self._padding = _PaddingEraser()
        for module in own_modules(self.network):
            is_convolution = isinstance(module, nn.Conv2d | OneDnnConvolution)
            if isinstance(module, nn.MaxPool2d) or (is_convolution and module.kernel_size != (1, 1)):
                module.register_forward_pre_hook(self._padding)
        mean = torch.tensor(settings.preprocessing.mean_rgb, dtype=torch.float32, device=device)
        self.register_buffer("mean", mean)
        self.dtype = dtype
        is_exact = bool((mean.to(dtype) == mean).all())  # as are the values of pixels, in any type
        self._pixel_dtype = dtype if is_exact else mean.dtype
        self._has_mean = bool(mean.any())

    def forward(self, images: Sequence[npt.NDArray[np.uint8]]) -> tuple[HeadOutputs, Float[Tensor, "A 4"]]:
        """Runs images (H, W, 3) uint8 RGB of any sizes as one batch.

        Returns:
            The outputs, and the anchors (cx, cy, w, h) that they refer to, in pixels of the padded batch. Anchors of
            cells that lie in an image's padding have a face logit of minus infinity.
        """
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        batch = self._collate(images, padded_size((max(size[0] for size in sizes), max(size[1] for size in sizes))))
        self._padding.begin(batch, [padded_size(size) for size in sizes] if self._sees_padding else sizes)
        outputs = self.network(batch)
        height, width = batch.shape[2:]
        anchors, device = self.settings.anchors, self.mean.device
        origins = cell_origins((height, width), anchors.nums_per_cell, anchors.strides, device=device)
        for logits, size in zip(outputs.class_logits, sizes, strict=True):
            if size != (height, width):
                outside = (origins >= origins.new_tensor([size[1], size[0]])).any(dim=1)  # (A,)
                logits[:, 1].masked_fill_(outside, -torch.inf)
        return outputs, generate_anchors((height, width), anchors.sizes, anchors.strides, device=device)

    def _collate(self, images: Sequence[npt.NDArray[np.uint8]], size: tuple[int, int]) -> Float[Tensor, "B 3 H W"]:
        """One batch in channels-last memory, mean subtracted, padded with 0."""
        batch = self.mean.new_empty(len(images), *size, 3, dtype=self._pixel_dtype)
        for row, image in zip(batch, images, strict=True):
            height, width = image.shape[:2]
            row[height:], row[:height, width:] = 0, 0
            inside = row[:height, :width].view(height, 3 * width)
            inside.copy_(torch.from_numpy(image).to(row.device, non_blocking=True).reshape(height, 3 * width))
            if self._has_mean:
                inside.sub_(self.mean.to(row.dtype).repeat(width))
        return batch.permute(0, 3, 1, 2).to(self.dtype)


class _PaddingEraser(threading.local):
    """A forward pre-hook that sets what lies beyond each image to zero, in place; each thread has its own."""

    def __init__(self) -> None:
        self._height = 0
        self._has_padding = False
        self._sizes: Sequence[tuple[int, int]] = ()
        self._masks: dict[int, Tensor] = {}

    def begin(self, batch: Float[Tensor, "B 3 H W"], sizes: Sequence[tuple[int, int]]) -> None:
        """Notes the (height, width) of the images in a batch that is about to go through the network."""
        self._height, width = batch.shape[2:]
        self._sizes = sizes
        self._has_padding = any(size != (self._height, width) for size in sizes)
        self._masks.clear()

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG002 (the hook's signature)
        if not self._has_padding:
            return
        features = inputs[0]
        stride = self._height // features.shape[2]
        if len(set(self._sizes)) == 1:
            height, width = self._sizes[0]
            features[:, :, -(-height // stride) :].zero_()
            features[:, :, :, -(-width // stride) :].zero_()
        else:
            features.mul_(self._mask(features, stride))

    def _mask(self, features: Float[Tensor, "B C H W"], stride: int) -> Float[Tensor, "B 1 H W"]:
        """1 inside each image, 0 beyond, at the features' stride."""
        if stride not in self._masks:
            mask = features.new_zeros(len(self._sizes), 1, *features.shape[2:])
            for row, (height, width) in zip(mask, self._sizes, strict=True):
                row[:, : -(-height // stride), : -(-width // stride)] = 1
            self._masks[stride] = mask
        return self._masks[stride]


def fold_batch_norm(network: Module) -> Module:
    """A copy in evaluation mode in which every BatchNorm that follows a convolution is folded into it.

    A BatchNorm follows a convolution when the module that holds both names it next; all backbones keep that order.
    """
    folded = copy.deepcopy(network).eval()
    for parent in list(own_modules(folded)):
        children = list(parent.named_children())
        for (name, child), (next_name, next_child) in itertools.pairwise(children):
            if isinstance(child, nn.Conv2d) and isinstance(next_child, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(child, next_child))
                setattr(parent, next_name, nn.Identity())
    return folded


class OneDnnConvolution(nn.Module):
    """A convolution, and the activation that follows it, as one operation of oneDNN.

    For 1x1 convolutions on one thread in 32 bits torch itself takes a way that is four times as slow.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        """Takes the weights of a convolution; activation is a ReLU, a LeakyReLU, or None."""
        super().__init__()
        self.weight, self.bias, self.kernel_size = convolution.weight, convolution.bias, convolution.kernel_size
        slopes = [activation.negative_slope] if isinstance(activation, nn.LeakyReLU) else []
        self._options = (
            *(convolution.padding, convolution.stride, convolution.dilation, convolution.groups),
            *("none" if activation is None else "leaky_relu" if slopes else "relu", slopes, ""),
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D I J"]:
        """The convolution and its activation."""
        outputs: Tensor = torch.ops.mkldnn._convolution_pointwise(images, self.weight, self.bias, *self._options)
        return outputs


def use_onednn(network: nn.Module) -> None:
    """Makes a network's convolutions OneDnnConvolution, each with its activation where that is next in a Sequential."""
    for parent in list(own_modules(network)):
        children = [(name, child) for name, child in parent.named_children() if not isinstance(child, nn.Identity)]
        for (name, child), (next_name, next_child) in itertools.pairwise([*children, ("", None)]):
            if not isinstance(child, nn.Conv2d) or isinstance(child.padding, str) or child.padding_mode != "zeros":
                continue
            is_fused = isinstance(parent, nn.Sequential) and type(next_child) in (nn.ReLU, nn.LeakyReLU)
            setattr(parent, name, OneDnnConvolution(child, next_child if is_fused else None))
            if is_fused:
                setattr(parent, next_name, nn.Identity())


class PairMaxima(nn.MaxPool2d):
    """Max pooling over 2 x 2 cells; on the CPU twice as fast as torch's, which also notes where maxima are."""

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H2 W2"]:
        """The larger one of each two rows, and then of each two columns; odd sides go torch's way."""
        if images.shape[2] % 2 or images.shape[3] % 2:
            outputs: Tensor = super().forward(images)
            return outputs
        rows = torch.maximum(images[:, :, ::2], images[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


def use_pair_maxima(network: nn.Module) -> None:
    """Makes a network's max pooling PairMaxima, where it does the same."""
    for parent in list(own_modules(network)):
        for name, child in parent.named_children():
            if not isinstance(child, nn.MaxPool2d) or child.ceil_mode or child.return_indices:
                continue
            if (child.kernel_size, child.stride, child.padding, child.dilation) == (2, 2, 0, 1):
                setattr(parent, name, PairMaxima(2))


def _runs_in_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes in this type on this CPU."""
    is_built_in = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not is_built_in or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):  # torch's own, and not promised
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.no_grad()
def fold_preprocessing(network: Module, preprocessing: PreprocessingSettings) -> Module:
    """Makes the first convolution take RGB - mean instead of (ordered - mean) / std; changes and returns the network.

    The mean cannot be folded: the convolution's own padding stands for it.
    """
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    weight = first.weight / torch.tensor(preprocessing.std).reshape(1, 3, 1, 1)
    first.weight.copy_(weight if preprocessing.color_order == "rgb" else weight.flip(1))
    return network
