"""The true faces of a batch as the loss wants them, and the anchors that they were given."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float, Int64
from torch import Tensor


class FaceTargets(NamedTuple):
    """The faces of all images of a batch, one after another, in pixels of the network input.

    Attributes:
        boxes: (F, 4) x_min, y_min, x_max, y_max; a box without area is never matched.
        landmarks: (F, 5, 2) x, y; any value where missing.
        has_landmarks: (F, 5) whether each point is known.
        ignore: (F,) faces that are neither positive nor background.
        image_index: (F,) position in the batch of the image that each face belongs to.
    """

    boxes: Float[Tensor, "F 4"]
    landmarks: Float[Tensor, "F 5 2"]
    has_landmarks: Bool[Tensor, "F 5"]
    ignore: Bool[Tensor, "F"]
    image_index: Int64[Tensor, "F"]

    def may_have_ignored(self) -> bool:
        """Whether there can be ignored faces; only the CPU is asked, as an accelerator would have to be waited for."""
        return self.ignore.device.type != "cpu" or bool(self.ignore.any())


class Matches(NamedTuple):
    """What each anchor is to learn; one that is neither positive nor background is left out of the loss.

    Attributes:
        face_index: (B, A) which of the F faces the anchor is positive for, -1 for none.
        is_background: (B, A) whether the anchor is to be background.
        max_positives: bound on the number of positives, known without asking the device.
    """

    face_index: Int64[Tensor, "B A"]
    is_background: Bool[Tensor, "B A"]
    max_positives: int
