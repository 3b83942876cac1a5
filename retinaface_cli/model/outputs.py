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
