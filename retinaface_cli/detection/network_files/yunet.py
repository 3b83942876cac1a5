"""YuNet (Wu et al., 2023) as its makers and OpenCV's model zoo publish it.

12 outputs: at strides 8, 16 and 32 the class and the objectness (sigmoid done), the box and the points of one anchor a
cell: centre (column + dx, row + dy) * stride, size exp(dw, dh) * stride, points (column + px, row + py) * stride. The
score is the root of class times objectness. Checked against OpenCV's FaceDetectorYN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from retinaface_cli.detection.network_files.family import (
    STRIDES,
    Family,
    collect_heads,
    count_by_size,
    expected_sizes,
    logit,
    make_heads,
)
from retinaface_cli.detection.network_files.graph import AnyArray
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.network import AnchorSettings, PreprocessingSettings

_CENTER = -0.5
"""Where its anchors' centres lie from ours, in strides."""


@dataclass(frozen=True)
class YuNet(Family):
    """YuNet; our anchors have the stride as their side."""

    def read(self, outputs: Sequence[AnyArray]) -> HeadOutputs:
        """Boxes and points relative to our anchors."""
        classes, objectness = collect_heads(outputs, 1, repeated=2)
        (boxes,) = collect_heads(outputs, 4)
        (points,) = collect_heads(outputs, 2 * NUM_LANDMARKS)
        box_deltas = torch.cat(
            [(boxes[:, :2] + _CENTER) / CENTER_VARIANCE, boxes[:, 2:] / SIZE_VARIANCE],
            dim=1,
        )
        scores = (classes.clamp(0, 1) * objectness.clamp(0, 1)).sqrt()
        return make_heads(logit(scores), box_deltas, (points + _CENTER) / CENTER_VARIANCE)


def recognise(shapes: Sequence[tuple[int, ...]], image_size: tuple[int, int]) -> YuNet | None:
    """The family by the shapes of the outputs for an image of (height, width)."""
    if count_by_size(shapes) != expected_sizes(image_size, (1, 1, 4, 2 * NUM_LANDMARKS), num_per_cell=1):
        return None
    return YuNet(
        title="YuNet",
        network="yunet",
        anchors=AnchorSettings(sizes=tuple((float(stride),) for stride in STRIDES)),
        preprocessing=PreprocessingSettings(color_order="bgr", mean=(0.0,) * 3, std=(1.0,) * 3),
    )
