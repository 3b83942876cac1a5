"""SCRFD (Guo et al., 2021) as insightface publishes it: det_10g.onnx, scrfd_2.5g.onnx, scrfd_500m_bnkps.onnx and kin.

6 outputs, or 9 with points: at strides 8, 16 and 32 scores (sigmoid done), distances of the four sides and points, in
strides from the centre (column * stride, row * stride) of each of the two anchors of a cell. Checked against
insightface's own scrfd.py.
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
    log_size,
    logit,
    make_heads,
)
from retinaface_cli.detection.network_files.graph import AnyArray
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.network import AnchorSettings, PreprocessingSettings

_ANCHORS_PER_CELL = 2
_CENTER = -0.5
"""Where its anchors' centres lie from ours, in strides."""


@dataclass(frozen=True)
class Scrfd(Family):
    """SCRFD; our anchors have the stride as their side."""

    has_points: bool = True

    def read(self, outputs: Sequence[AnyArray]) -> HeadOutputs:
        """Distances as boxes relative to our anchors."""
        (scores,) = collect_heads(outputs, 1)
        (distances,) = collect_heads(outputs, 4)
        before, after = distances[:, :2], distances[:, 2:]  # left and top, right and bottom
        centers = ((after - before) / 2 + _CENTER) / CENTER_VARIANCE
        box_deltas = torch.cat([centers, log_size(before + after) / SIZE_VARIANCE], dim=1)
        points = None
        if self.has_points:
            points = (collect_heads(outputs, 2 * NUM_LANDMARKS)[0] + _CENTER) / CENTER_VARIANCE
        return make_heads(logit(scores), box_deltas, points)


def recognise(shapes: Sequence[tuple[int, ...]], image_size: tuple[int, int]) -> Scrfd | None:
    """The family by the shapes of the outputs for an image of (height, width)."""
    found = count_by_size(shapes)
    for has_points in (True, False):
        values = (1, 4, 2 * NUM_LANDMARKS)[: 2 + has_points]
        if found == expected_sizes(image_size, values, num_per_cell=_ANCHORS_PER_CELL):
            return Scrfd(
                title="SCRFD with points" if has_points else "SCRFD without points",
                network="scrfd",
                anchors=AnchorSettings(sizes=tuple((float(stride),) * _ANCHORS_PER_CELL for stride in STRIDES)),
                preprocessing=PreprocessingSettings(color_order="rgb", mean=(127.5,) * 3, std=(128.0,) * 3),
                has_points=has_points,
            )
    return None
