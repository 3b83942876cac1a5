"""Names of weights in the checkpoints of other RetinaFace implementations, and what network they belong to."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.settings.network import BackboneName

_PREFIXES = re.compile(r"^(?:module\.|model\.)+")
_HEADS = {"classhead": "class_heads", "bboxhead": "box_heads", "landmarkhead": "landmark_heads"}


def rename_key(key: str) -> str:
    """The name in our network of a weight of biubug6, ternaus, facexlib or yakhyo; unknown names come back as they are.

    Also maps the bare ImageNet MobileNetV1 files (`stage1.0.0.weight`).
    """
    key = _PREFIXES.sub("", key)
    key = re.sub(r"^(?:body|fx)\.", "backbone.", key)
    key = re.sub(r"^(stage\d\.|fc\.)", r"backbone.\1", key)
    key = re.sub(r"^(backbone\.stage\d\.\d+)\.(\d)\.(\d)\.", _flatten_depthwise, key)
    key = re.sub(r"^fpn\.output(\d)\.", lambda m: f"pyramid.lateral.{int(m[1]) - 1}.", key)
    key = re.sub(r"^fpn\.merge(\d)\.", lambda m: f"pyramid.merge.{int(m[1]) - 1}.", key)
    key = re.sub(r"^ssh(\d)\.(\w+)\.", lambda m: f"context.{int(m[1]) - 1}.{m[2].lower()}.", key)
    return re.sub(r"^(\w+_?[Hh]ead)\.(?:\1\.)?(\d)\.(?:conv1x1\.)?", _rename_head, key)


def _flatten_depthwise(match: re.Match[str]) -> str:
    """Yakhyo nests each half of a depthwise block: convolution and norm at a.0 and a.1 become 3a and 3a + 1."""
    return f"{match[1]}.{3 * int(match[2]) + int(match[3])}."


def _rename_head(match: re.Match[str]) -> str:
    kind = _HEADS.get(match[1].lower().replace("_", ""))
    return match[0] if kind is None else f"{kind}.{match[2]}."


def detect_family(keys: list[str]) -> str:
    """Whose names these are, for messages."""
    stripped = [_PREFIXES.sub("", key) for key in keys]
    if any(key.startswith("fx.") for key in stripped):
        return "yakhyo"
    if any(key.startswith("body.") for key in stripped):
        return "biubug6 / ternaus / facexlib"
    return "retinaface-cli"


def detect_backbone(state: Mapping[str, Tensor], *, source: str) -> BackboneName:
    """Which backbone the renamed weights belong to, from names and shapes.

    Raises:
        CheckpointError: none that we know.
    """
    stem = state.get("backbone.stage1.0.0.weight")
    if stem is not None:
        widths: dict[int, BackboneName] = {8: "mobilenet0.25", 16: "mobilenet0.5", 32: "mobilenet1.0"}
        if stem.shape[0] in widths:
            return widths[stem.shape[0]]
        raise CheckpointError(
            f"{source}: MobileNetV1 with {stem.shape[0]} channels in its first layer; known: 8, 16, 32"
        )
    if "backbone.features.18.0.weight" in state:
        return "mobilenet_v2"
    if "backbone.layer1.0.conv3.weight" in state:
        return "resnet50"
    if "backbone.layer3.5.conv1.weight" in state:
        return "resnet34"
    if "backbone.layer1.0.conv1.weight" in state:
        return "resnet18"
    first = ", ".join(list(state)[:5]) or "nothing"
    raise CheckpointError(
        f"{source}: not the weights of a RetinaFace network that is known here: found {first}; expected a MobileNetV1, "
        "MobileNetV2 or ResNet-18/-34/-50 backbone under body., fx. or backbone."
    )
