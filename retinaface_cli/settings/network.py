"""What a checkpoint carries about its network: backbone, widths, anchors and the preprocessing it was trained with."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from retinaface_cli.settings.base import Settings

BACKBONE_NAMES = (
    "mobilenet0.25",
    "mobilenet0.5",
    "mobilenet1.0",
    "mobilenet_v2",
    "resnet18",
    "resnet34",
    "resnet50",
    "yunet",
)

TIMM_PREFIX = "timm/"
"""Start of the names of timm's models."""


def _check_backbone(name: str) -> str:
    if name not in BACKBONE_NAMES and not re.fullmatch(rf"{TIMM_PREFIX}[\w.-]+", name):
        raise ValueError(f"expected one of {', '.join(BACKBONE_NAMES)}, or {TIMM_PREFIX}NAME")
    return name


BackboneName = Annotated[str, AfterValidator(_check_backbone)]

NetworkName = Literal["retinaface", "yunet"]


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = Annotated[tuple[Positive, ...], Field(min_length=1)]


class AnchorSettings(Settings):
    """Square anchors: sizes in pixels of the network input, a tuple a level, and the level's stride in pixels."""

    sizes: tuple[Sizes, ...] = (
        (16.0, 32.0),
        (64.0, 128.0),
        (256.0, 512.0),
    )
    """Side lengths of the anchors at every cell of each level, in pixels of the network input."""

    strides: tuple[int, ...] = (8, 16, 32)
    """Distance between cells of each level, in pixels of the network input."""

    @model_validator(mode="after")
    def _check_levels(self) -> AnchorSettings:
        if len(self.sizes) != 3 or self.strides != (8, 16, 32):
            raise ValueError("the network has three levels, of strides 8, 16 and 32: give three tuples of sizes")
        return self

    @property
    def nums_per_cell(self) -> tuple[int, ...]:
        """Number of anchors at every cell of each level."""
        return tuple(len(level) for level in self.sizes)


class PreprocessingSettings(Settings):
    """How pixel values become network input: (value - mean) / std a channel, values in [0, 255]."""

    color_order: Literal["rgb", "bgr"] = "rgb"
    """Order of the three channels that the network wants."""

    mean: tuple[Finite, Finite, Finite] = (123.675, 116.28, 103.53)
    """Subtracted a channel, in the network's channel order, on the scale 0 to 255."""

    std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)
    """Divided by a channel, in the network's channel order, on the scale 0 to 255."""

    @property
    def mean_rgb(self) -> tuple[float, float, float]:
        """The mean of red, green and blue."""
        first, second, third = self.mean
        return self.mean if self.color_order == "rgb" else (third, second, first)


PREPROCESSINGS: dict[str, PreprocessingSettings] = {
    "imagenet-rgb": PreprocessingSettings(),
    "mean-bgr": PreprocessingSettings(color_order="bgr", mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0)),
    "raw-bgr": PreprocessingSettings(color_order="bgr", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
}
"""The conventions of the old checkpoints by name (ternaus; biubug6, facexlib and yakhyo; YuNet)."""


_OF_YUNET: dict[str, Any] = {
    "backbone": "yunet",
    "anchors": AnchorSettings(sizes=((8.0,), (16.0,), (32.0,))),
    "preprocessing": PREPROCESSINGS["raw-bgr"],
}
"""What YuNet has where nothing else is named."""

_YUNET_FACE_SIDE = 5.0
"""Sides of faces over sides of the anchors that find them: on 649 images of WIDER FACE train the published weights find
faces of up to about 56 pixels by the anchors of 8, and those from about 112 by the anchors of 32."""


class NetworkSettings(Settings):
    """All that is needed to build a network and feed it; stored in every checkpoint."""

    network: NetworkName = "retinaface"
    """Name of the network; yunet has a backbone, anchors and preprocessing of its own where they are not named."""

    backbone: BackboneName = "mobilenet0.25"
    """Name of the backbone: mobilenet0.25, mobilenet0.5, mobilenet1.0, mobilenet_v2, resnet18, resnet34, resnet50 or
    yunet; timm/NAME: a model of timm (retinaface-cli[timm]) with feature maps of strides 8, 16 and 32."""

    out_channels: int | None = Field(default=None, gt=0, multiple_of=4)
    """Width of the feature pyramid and of the context modules; empty: the backbone's usual width."""

    anchors: AnchorSettings = AnchorSettings()
    """Anchor sizes and strides."""

    preprocessing: PreprocessingSettings = PREPROCESSINGS["imagenet-rgb"]
    """Channel order, mean and standard deviation of the input."""

    @property
    def matched_anchors(self) -> AnchorSettings:
        """The anchors as they are compared with faces in training: the size of faces that each is to find."""
        if self.network != "yunet":
            return self.anchors
        sizes = tuple(tuple(side * _YUNET_FACE_SIDE for side in level) for level in self.anchors.sizes)
        return self.anchors.model_copy(update={"sizes": sizes})

    @model_validator(mode="after")
    def _fill_in_what_the_network_has(self) -> NetworkSettings:
        if self.network == "yunet":
            unnamed = {name: value for name, value in _OF_YUNET.items() if name not in self.model_fields_set}
            self.__dict__.update(unnamed)  # not by model_copy, which would take them for named
            if self.backbone != "yunet" or self.out_channels is not None:
                raise ValueError("the network yunet has the backbone yunet alone, and no other width: leave both out")
        return self
