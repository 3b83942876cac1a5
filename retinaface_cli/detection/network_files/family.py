"""A family of networks in files: how images go in, and how what comes out is turned into HeadOutputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retinaface_cli.detection.network_files.graph import AnyArray
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.anchors import level_shapes
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.network import AnchorSettings, PreprocessingSettings

STRIDES = (8, 16, 32)

_EPSILON = 1e-7
"""Distance that scores keep from 0 and 1, and distances from 0, before their logarithm is taken."""


@dataclass(frozen=True)
class Family(ABC):
    """Networks whose files are used alike.

    Attributes:
        title: for the user to read.
        network: name of the network, see detection.stages.
        anchors: that the HeadOutputs refer to.
        preprocessing: what the network wants images to be, or does with them itself.
        takes_rgb: whether the input is images (B, H, W, 3) uint8 RGB; else (B, 3, H, W), prepared.
        multiple: of which the sides of the input must be multiples, in pixels.
    """

    title: str
    network: str
    anchors: AnchorSettings
    preprocessing: PreprocessingSettings
    takes_rgb: bool = False
    multiple: int = 32

    @abstractmethod
    def read(self, outputs: Sequence[AnyArray]) -> HeadOutputs:
        """The outputs of the network for one image."""


def count_by_size(shapes: Sequence[tuple[int, ...]]) -> Counter[tuple[int, int]]:
    """How many outputs there are of each number of rows and of values a row, whether they have a batch dimension."""
    return Counter((rows_of(shape), shape[-1]) for shape in shapes if shape and shape[-1] > 0)


def expected_sizes(
    image_size: tuple[int, int], nums_of_values: Sequence[int], *, num_per_cell: int
) -> Counter[tuple[int, int]]:
    """What count_by_size gives for heads of these numbers of values at each of the three strides."""
    rows = [height * width * num_per_cell for height, width in level_shapes(image_size, STRIDES)]
    return Counter((num, values) for num in rows for values in nums_of_values)


def collect_heads(outputs: Sequence[AnyArray], num_values: int, *, repeated: int = 1) -> list[Tensor]:
    """Heads of a number of values, the finest level first and all levels one after another, as float32.

    Args:
        outputs: in any order, with or without a batch dimension of 1.
        num_values: a row.
        repeated: how many such heads there are a level; they keep the order that they have among the outputs.

    Returns:
        `repeated` tensors (A, num_values).
    """
    found = [output.reshape(-1, num_values) for output in outputs if output.shape[-1] == num_values]
    found.sort(key=len, reverse=True)
    levels = [torch.from_numpy(one).float() for one in found]
    return [torch.cat(levels[start::repeated]) for start in range(repeated)]


def logit(scores: Tensor) -> Tensor:
    """The value whose sigmoid is the score."""
    return torch.logit(scores, eps=_EPSILON)


def log_size(sizes: Tensor) -> Tensor:
    """Logarithm of a length in anchor sides; what is not above 0 counts as next to nothing."""
    return sizes.clamp(min=_EPSILON).log()


def make_heads(logits: Tensor, box_deltas: Tensor, landmark_deltas: Tensor | None) -> HeadOutputs:
    """HeadOutputs of one image.

    Args:
        logits: (A, 1) of the faces.
        box_deltas: (A, 4).
        landmark_deltas: (A, 10); None where the network has no points, which are then NaN.
    """
    if landmark_deltas is None:
        landmark_deltas = box_deltas.new_full((len(box_deltas), 2 * NUM_LANDMARKS), torch.nan)
    class_logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    points = landmark_deltas.reshape(1, -1, NUM_LANDMARKS, 2)
    return HeadOutputs(class_logits[None], box_deltas[None], points)


def rows_of(shape: tuple[int, ...]) -> int:
    """Number of rows of an output whose last dimension are the values."""
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows
