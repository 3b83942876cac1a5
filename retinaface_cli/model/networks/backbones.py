"""The backbones: networks that turn images into three feature maps of strides 8, 16 and 32.

BACKBONES is the table of them all; a new one is one entry. Those of timm are made by name. torchvision is imported
where one of its networks is made: it takes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.model.networks.timm_backbones import TimmBackbone, find_features
from retinaface_cli.settings.network import TIMM_PREFIX

FeatureMaps = tuple[Tensor, Tensor, Tensor]
"""Feature maps (B, C, H / 8, W / 8), (B, C', H / 16, W / 16), (B, C'', H / 32, W / 32), sizes rounded up."""


COARSEST_STRIDE = 32
"""Pixels between cells of the coarsest feature map."""


def pad_to_whole_cells(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H2 W2"]:
    """Normalised images with zeros to the right and bottom, up to multiples of the coarsest stride."""
    beyond = [(COARSEST_STRIDE - side % COARSEST_STRIDE) % COARSEST_STRIDE for side in images.shape[2:]]
    return F.pad(images, (0, beyond[1], 0, beyond[0]))


def crop_to_image(
    features: Float[Tensor, "B C H2 W2"], images: Float[Tensor, "B 3 H W"], stride: int
) -> Float[Tensor, "B C rows columns"]:
    """The cells of a feature map that hold pixels of images that were padded."""
    rows, columns = ((side + stride - 1) // stride for side in images.shape[2:])
    return features[:, :, :rows, :columns]


def _conv_bn(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1, inplace=True),
    )


def _depthwise_separable(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, 1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1, inplace=True),
    )


class MobileNetV1(nn.Module):
    """MobileNetV1 (Howard et al., 2017) with leaky activations, as the RetinaFace checkpoints have it."""

    def __init__(self, width: float) -> None:
        super().__init__()
        c1, c2, c3, c4, c5, c6 = (int(channels * width) for channels in (32, 64, 128, 256, 512, 1024))
        block = _depthwise_separable
        self.stage1 = nn.Sequential(
            _conv_bn(3, c1, stride=2),
            block(c1, c2),
            block(c2, c3, stride=2),
            block(c3, c3),
            block(c3, c4, stride=2),
            block(c4, c4),
        )
        self.stage2 = nn.Sequential(block(c4, c5, stride=2), *(block(c5, c5) for _ in range(5)))
        self.stage3 = nn.Sequential(block(c5, c6, stride=2), block(c6, c6))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeatureMaps:
        """The outputs of the three stages."""
        fine = self.stage1(images)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al., 2018): torchvision's layers, tapped after layers 6, 13 and 18."""

    def __init__(self) -> None:
        super().__init__()
        import torchvision

        self.features = torchvision.models.mobilenet_v2(weights=None).features

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeatureMaps:
        """The outputs of layers 6, 13 and 18."""
        fine = self.features[:7](images)
        middle = self.features[7:14](fine)
        return fine, middle, self.features[14:](middle)


class ResNet(nn.Module):
    """A ResNet (He et al., 2015): torchvision's layers (stride in the 3x3) without pooling and classifier."""

    def __init__(self, name: str) -> None:
        """Makes the network of that name in torchvision.models."""
        super().__init__()
        import torchvision

        whole = torchvision.models.get_model(name, weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = whole.conv1, whole.bn1, whole.relu, whole.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = whole.layer1, whole.layer2, whole.layer3, whole.layer4

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeatureMaps:
        """The outputs of layers 2, 3 and 4."""
        stem = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        fine = self.layer2(stem)
        middle = self.layer3(fine)
        return fine, middle, self.layer4(middle)


def pointwise_depthwise(in_channels: int, out_channels: int, *, is_last: bool = False) -> nn.Sequential:
    """YuNet's unit: 1x1 convolution, then 3x3 convolution a channel and, unless is_last, BatchNorm and ReLU."""
    pointwise = nn.Conv2d(in_channels, out_channels, 1)
    depthwise = nn.Conv2d(out_channels, out_channels, 3, padding=1, groups=out_channels)
    if is_last:
        return nn.Sequential(pointwise, depthwise)
    return nn.Sequential(pointwise, *_normalized(depthwise))


def _normalized(convolution: nn.Conv2d) -> tuple[nn.Module, ...]:
    """A convolution, BatchNorm and ReLU.

    The convolution's bias is not learned: BatchNorm takes it out again, and has one of its own. With BatchNorm frozen
    it would learn many times as fast as all else, for its gradient is divided by deviations that are small.
    """
    assert convolution.bias is not None
    convolution.bias.requires_grad_(False)
    return convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True)


class YuNetBackbone(nn.Module):
    """YuNet's (Wu, Peng and Yu, 2023): a stem and five stages of two units each, for raw pixels.

    Sides are to be multiples of 32 pixels.
    """

    def __init__(self) -> None:
        super().__init__()
        unit = pointwise_depthwise
        stem = (*_normalized(nn.Conv2d(3, 16, 3, 2, 1)), unit(16, 16))
        stages = (nn.Sequential(unit(channels, channels), unit(channels, 64)) for channels in (16, 64, 64, 64, 64))
        self.stages = nn.ModuleList([nn.Sequential(*stem), *stages])
        self.pool = nn.MaxPool2d(2)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeatureMaps:
        """The outputs of stages 3, 4 and 5."""
        stem, *stages = self.stages
        first, second, third, fourth, fifth = stages
        fine = third(self.pool(second(first(self.pool(stem(images))))))
        middle = fourth(self.pool(fine))
        return fine, middle, fifth(self.pool(middle))


@dataclass(frozen=True)
class Backbone:
    """One line of the table of backbones.

    Attributes:
        build: makes the module, randomly initialised.
        channels: of the three feature maps.
        out_channels: usual width of the feature pyramid on top.
        preprocessing: name of the convention that old checkpoints of this backbone mostly used.
        imagenet_weights: name of torchvision's ImageNet weights, see torchvision.models.get_weight; None where they
            come from a file.
        needs_whole_cells: whether sides of images have to be multiples of 32 pixels.
    """

    build: Callable[[], nn.Module]
    channels: tuple[int, int, int]
    out_channels: int
    preprocessing: str
    imagenet_weights: str | None = None
    needs_whole_cells: bool = False


BACKBONES: dict[str, Backbone] = {
    "mobilenet0.25": Backbone(partial(MobileNetV1, 0.25), (64, 128, 256), 64, "mean-bgr"),
    "mobilenet0.5": Backbone(partial(MobileNetV1, 0.5), (128, 256, 512), 128, "mean-bgr"),
    "mobilenet1.0": Backbone(partial(MobileNetV1, 1.0), (256, 512, 1024), 256, "mean-bgr"),
    "mobilenet_v2": Backbone(MobileNetV2, (32, 96, 1280), 128, "mean-bgr", "MobileNet_V2_Weights.IMAGENET1K_V2"),
    "yunet": Backbone(YuNetBackbone, (64, 64, 64), 64, "raw-bgr", needs_whole_cells=True),
    "resnet18": Backbone(
        partial(ResNet, "resnet18"), (128, 256, 512), 128, "mean-bgr", "ResNet18_Weights.IMAGENET1K_V1"
    ),
    "resnet34": Backbone(
        partial(ResNet, "resnet34"), (128, 256, 512), 128, "mean-bgr", "ResNet34_Weights.IMAGENET1K_V1"
    ),
    "resnet50": Backbone(
        partial(ResNet, "resnet50"), (512, 1024, 2048), 256, "imagenet-rgb", "ResNet50_Weights.IMAGENET1K_V2"
    ),
}
"""Every backbone by the name that settings and checkpoints use."""


_TIMM_WIDTH = 64
"""Usual width of the feature pyramid on a model of timm."""


def find_backbone(name: str) -> Backbone:
    """The backbone of that name: a line of BACKBONES, or a model of timm.

    Raises:
        SettingsError: timm is not installed, or has no such model that fits.
    """
    if not name.startswith(TIMM_PREFIX):
        return BACKBONES[name]
    model = name.removeprefix(TIMM_PREFIX)
    channels = find_features(model).channels
    return Backbone(partial(TimmBackbone, model), channels, _TIMM_WIDTH, "imagenet-rgb", needs_whole_cells=True)
