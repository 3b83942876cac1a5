"""What every network returns, and what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class HeadOutputs(NamedTuple):
    """Raw outputs of a network, never activated; anchors in the order of geometry.anchors.

    Attributes:
        class_logits: (B, A, 2) background and face.
        box_deltas: (B, A, 4) encoded boxes, see geometry.boxes.
        landmark_deltas: (B, A, 5, 2) encoded points.
    """

    class_logits: Float[Tensor, "B A 2"]
    box_deltas: Float[Tensor, "B A 4"]
    landmark_deltas: Float[Tensor, "B A 5 2"]


def face_logits(outputs: HeadOutputs) -> Float[Tensor, "B A"]:
    """Logits of face against background, in float32; their sigmoid is the softmax of the two classes."""
    return outputs.class_logits[..., 1].float() - outputs.class_logits[..., 0].float()


class FaceNetwork(nn.Module, ABC):
    """A network of NETWORKS.

    Attributes:
        backbone: the part that ImageNet weights are for.
        pads_images: whether it pads images itself, with zeros to multiples of the coarsest stride, and has its outputs
            at the edges from what it makes of them. May be set to False where images come padded so.
    """

    backbone: nn.Module
    pads_images: bool = False

    @abstractmethod
    def forward(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Normalised images of any size to raw outputs for the anchors of geometry.generate_anchors((H, W), ...)."""

    @abstractmethod
    def set_class_prior(self, probability: float) -> None:
        """Sets the last biases so that, before training, every anchor is a face with this probability.

        Without it the background, by far the most of the anchors, outweighs all else in the first steps of a loss
        over all anchors.
        """

    def with_merged_heads(self) -> nn.Module:
        """The same function of the same layers, where several that look at one map are one; for running only."""
        return self
