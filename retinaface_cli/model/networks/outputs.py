"""What the network returns."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class HeadOutputs(NamedTuple):
    """Raw outputs of the three heads, never activated; anchors in the order of geometry.anchors.

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
