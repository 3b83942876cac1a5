"""Weights of YuNet as libfacedetection.train publishes them (mmdet's names), turned into those of our network.

There a point is (column + output) * stride, and a side exp(output) * stride. Here it is relative to the middle of the
cell and multiplied by the variances of geometry.boxes, which the last layers take in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.geometry.boxes import CENTER_VARIANCE, SIZE_VARIANCE

FAMILY = "libfacedetection.train"

_HEADS = ("cls", "obj", "bbox", "kps")
"""Heads of a level in the order of our one head."""

_LAYERS = {"conv1": "0", "conv2": "1", "bn": "2"}
"""Names in a unit of 1x1 and 3x3 convolution."""


def is_yunet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a YuNet."""
    return "bbox_head.multi_level_obj.0.conv1.weight" in tensors


def convert_yunet(tensors: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The weights by the names of our network, with its decoding of boxes and points.

    Args:
        tensors: by mmdet's names.
        source: the file, for messages.

    Raises:
        CheckpointError: a head is missing, or a level has several anchors.
    """
    state = {_rename(name): value for name, value in tensors.items() if not name.startswith("bbox_head.multi_level_")}
    state |= {_rename(name): value for name, value in tensors.items() if "share_convs" in name}
    num_levels = sum(name.endswith(".conv1.weight") for name in tensors if "multi_level_obj" in name)
    for level in range(num_levels):
        for layer in ("conv1", "conv2"):
            parts = [f"bbox_head.multi_level_{head}.{level}.{layer}" for head in _HEADS]
            for kind in ("weight", "bias"):
                try:
                    joined = torch.cat([tensors[f"{part}.{kind}"] for part in parts])
                except KeyError as error:
                    raise CheckpointError(f"{source}: a YuNet without {error.args[0]}; fetch it again") from None
                except RuntimeError:
                    raise CheckpointError(f"{source}: a YuNet with heads of unequal shapes; fetch it again") from None
                state[f"heads.{level}.{_LAYERS[layer]}.{kind}"] = joined
        _adopt_decoding(state, f"heads.{level}.{_LAYERS['conv2']}", source=source)
    return state


def _rename(name: str) -> str:
    """The name in our network of a weight outside the heads; unknown names come back as they are."""
    name = re.sub(r"^backbone\.model(\d)\.conv(\d)\.(conv1|conv2|bn)\.", _rename_unit, name)
    name = re.sub(r"^backbone\.model0\.conv1\.", "backbone.stages.0.0.", name)
    name = re.sub(r"^backbone\.model0\.bn1\.", "backbone.stages.0.1.", name)
    name = re.sub(r"^neck\.lateral_convs\.(\d)\.", r"pyramid.\1.", name)
    name = re.sub(r"^bbox_head\.multi_level_share_convs\.(\d)\.0\.", r"shared.\1.", name)
    return re.sub(r"^((?:pyramid|shared)\.\d)\.(conv1|conv2|bn)\.", lambda m: f"{m[1]}.{_LAYERS[m[2]]}.", name)


def _rename_unit(match: re.Match[str]) -> str:
    """A stage is two units; the first stage a convolution, its BatchNorm, its activation, and one unit."""
    place = 3 if match[1] == "0" else int(match[2]) - 1
    return f"backbone.stages.{match[1]}.{place}.{_LAYERS[match[3]]}."


def _adopt_decoding(state: dict[str, Tensor], layer: str, *, source: str) -> None:
    """Makes the last layer of a level give box and points as geometry.boxes decodes them; changes the state."""
    center, size = 1 / CENTER_VARIANCE, 1 / SIZE_VARIANCE
    points = 2 * NUM_LANDMARKS
    factor = torch.tensor([1.0, 1, center, center, size, size, *[center] * points], dtype=torch.float64)
    shift = torch.tensor([0.0, 0, 0.5, 0.5, 0, 0, *[0.5] * points], dtype=torch.float64)
    weight, bias = (state[f"{layer}.{kind}"].double() for kind in ("weight", "bias"))
    if weight.shape[:1] != factor.shape or weight.ndim != 4 or bias.shape != factor.shape:
        raise CheckpointError(f"{source}: a YuNet with {tuple(weight.shape)} values a cell; expected {len(factor)}")
    state[f"{layer}.weight"] = (weight * factor.reshape(-1, 1, 1, 1)).float()
    state[f"{layer}.bias"] = ((bias - shift) * factor).float()
