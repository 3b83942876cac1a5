"""Files that `retinaface export` wrote, which say themselves what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from retinaface_cli.detection.network_files.family import Family
from retinaface_cli.detection.network_files.graph import AnyArray
from retinaface_cli.errors import CheckpointError
from retinaface_cli.geometry.boxes import CENTER_VARIANCE, SIZE_VARIANCE
from retinaface_cli.model.networks.backbones import COARSEST_STRIDE, find_backbone
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.network import NetworkSettings
from retinaface_cli.version import __version__

_NETWORK = "network"
_HEADS = "heads"
_RAW, _END_TO_END = "raw", "end-to-end"


@dataclass(frozen=True)
class ExportedFamily(Family):
    """Raw heads; normalisation is in the network."""

    def read(self, outputs: Sequence[AnyArray]) -> HeadOutputs:
        """The outputs as they are."""
        return HeadOutputs(*map(torch.from_numpy, outputs))


def family_of(network: NetworkSettings, *, is_padded: bool = False) -> ExportedFamily:
    """The family of a network of ours; is_padded: whether one that needs padding does not pad images itself."""
    needs_padding = is_padded and find_backbone(network.backbone).needs_whole_cells
    return ExportedFamily(
        title=f"{network.network} exported by this tool",
        network=network.network,
        anchors=network.anchors,
        preprocessing=network.preprocessing,
        takes_rgb=True,
        multiple=COARSEST_STRIDE if needs_padding else 1,
    )


def describe_network(
    network: NetworkSettings, *, end_to_end: Mapping[str, float] | None, licence: str, weights_sha256: str
) -> dict[str, str]:
    """What an exported file says of itself; lists and mappings as JSON.

    Args:
        network: whose heads it has.
        end_to_end: settings of the suppression inside; None: the heads are raw.
        licence: of the weights.
        weights_sha256: of the file they came from.
    """
    frame = "pixels of the input image, continuous, x to the right, y down"
    values: dict[str, Any] = {
        "tool": f"retinaface-cli {__version__}",
        "licence": licence,
        "weights_sha256": weights_sha256,
        _NETWORK: network.model_dump(mode="json"),
        _HEADS: _RAW if end_to_end is None else _END_TO_END,
        "input": "images (batch, height, width, 3), uint8, RGB, 0 to 255; the normalisation is inside the network",
        "landmark_order": ["eye on the image's left", "eye on its right", "nose", "mouth, left", "mouth, right"],
    }
    if end_to_end is None:
        values |= {
            "classes": ["background", "face"],
            "scores": "softmax of class_logits",
            "anchors": {
                **network.anchors.model_dump(mode="json"),
                "order": "level, row, column, size",
                "center": "((column + 0.5) * stride, (row + 0.5) * stride)",
            },
            "variances": [CENTER_VARIANCE, SIZE_VARIANCE],
            "decoding": "center = anchor center + deltas * variance * anchor side; size = anchor side * "
            "exp(deltas * variance); " + frame,
        }
    else:
        values |= {
            "suppression": end_to_end,
            "scores": "probability of a face, best first; rows of score 0 fill up images with fewer faces",
            "boxes": "x1, y1, x2, y2, not clipped; " + frame,
            "landmarks": "x, y; " + frame,
        }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def recognise(metadata: Mapping[str, str], *, source: str) -> ExportedFamily | None:
    """The family of a file by what it says; None where another tool wrote it.

    Raises:
        CheckpointError: decoding and suppression are in it.
        SettingsError: what it says is not about a network.
    """
    if not metadata.get("tool", "").startswith("retinaface-cli"):
        return None
    if metadata.get(_HEADS) != _RAW:
        raise CheckpointError(
            f"{source}: has decoding and suppression inside (--end2end), which this command does itself; export it "
            "without --end2end, or run it in ONNX Runtime or OpenVINO as examples/export.md shows"
        )
    try:
        values = json.loads(metadata.get(_NETWORK, ""))
    except ValueError:
        raise CheckpointError(f"{source}: its metadata is damaged; export it again") from None
    return family_of(validate_settings(NetworkSettings, values, source=source))
