"""YuNet (Wu, Peng and Yu, 2023): a tiny backbone and pyramid of separable convolutions, heads of one anchor a cell."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.model.networks.backbones import (
    BACKBONES,
    FeatureMaps,
    crop_to_image,
    pad_to_whole_cells,
    pointwise_depthwise,
)
from retinaface_cli.model.networks.outputs import FaceNetwork, HeadOutputs
from retinaface_cli.settings.network import NetworkSettings

VALUES_AN_ANCHOR = (1, 1, 4, 2 * NUM_LANDMARKS)
"""Logit of the class, logit of objectness, box and points, in the order of the heads' channels."""

_MAX_LOGIT = 30.0
"""Bound on both logits, so that their probabilities stay above 0 in float32."""


class YuNet(FaceNetwork):
    """The whole network, randomly initialised.

    A face's probability is the root of class times objectness; both come out as one logit. Images are padded to whole
    cells of the coarsest level, as wherever this network is run.
    """

    pads_images = True

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        channels = BACKBONES[settings.backbone].channels
        width = channels[0]
        self.strides = settings.anchors.strides
        self.backbone = BACKBONES[settings.backbone].build()
        self.pyramid = nn.ModuleList(pointwise_depthwise(width, width) for _ in channels)
        self.shared = nn.ModuleList(pointwise_depthwise(width, width) for _ in channels)
        self.heads = nn.ModuleList(
            pointwise_depthwise(width, num * sum(VALUES_AN_ANCHOR), is_last=True)
            for num in settings.anchors.nums_per_cell
        )

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Normalised images of any size to raw outputs for the anchors of geometry.generate_anchors((H, W), ...)."""
        levels = self.features(pad_to_whole_cells(images) if self.pads_images else images)
        maps = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        if self.pads_images:
            maps = [crop_to_image(values, images, stride) for values, stride in zip(maps, self.strides, strict=True)]
        flat = [one.permute(0, 2, 3, 1).reshape(images.shape[0], -1, sum(VALUES_AN_ANCHOR)) for one in maps]
        classes, objectness, boxes, points = torch.split(torch.cat(flat, dim=1), list(VALUES_AN_ANCHOR), dim=2)
        logits = logit_of_root(classes[..., 0], objectness[..., 0])  # (B, A): OpenVINO is slow where the last side is 1
        return HeadOutputs(
            class_logits=torch.stack([torch.zeros_like(logits), logits], dim=2),
            box_deltas=boxes,
            landmark_deltas=points.reshape(*points.shape[:2], NUM_LANDMARKS, 2),
        )

    @torch.no_grad()
    def set_class_prior(self, probability: float) -> None:
        """Sets the biases of class and objectness; see FaceNetwork."""
        for head in self.heads.children():
            assert isinstance(head, nn.Sequential)
            bias = head[-1].bias
            assert isinstance(bias, Tensor)
            bias.view(-1, sum(VALUES_AN_ANCHOR))[:, :2] = math.log(probability / (1 - probability))

    def features(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The maps that the heads look at, fine to coarse."""
        levels = self._merge(self.backbone(images))
        return [shared(level) for shared, level in zip(self.shared, levels, strict=True)]

    def _merge(self, features: FeatureMaps) -> FeatureMaps:
        """Top-down pyramid: each level is added to the next finer one before that goes through its own layers."""
        fine, middle, coarse = features
        coarse = self.pyramid[2](coarse)
        middle = self.pyramid[1](middle + F.interpolate(coarse, scale_factor=2, mode="nearest"))
        fine = self.pyramid[0](fine + F.interpolate(middle, scale_factor=2, mode="nearest"))
        return fine, middle, coarse


def logit_of_root(first: Float[Tensor, "*N"], second: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """The logit of the root of the product of two probabilities, from their logits, in float32 or better."""
    dtype = torch.promote_types(first.dtype, torch.float32)
    first, second = (logits.to(dtype).clamp(-_MAX_LOGIT, _MAX_LOGIT) for logits in (first, second))
    probability = torch.sigmoid(first)
    root = (probability * torch.sigmoid(second)).sqrt()
    rest = torch.sigmoid(-first) + probability * torch.sigmoid(-second)  # 1 - root**2, exact where root is near 1
    return torch.log(root * (1 + root) / rest)
