"""Names of weights in the checkpoints of other RetinaFace implementations, and what network they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from retinaface_cli.errors import CheckpointError, shown
from retinaface_cli.settings.network import BackboneName

_NETWORK_MARKS = (
    *("fpn.output1.0.weight", "pyramid.lateral.0.0.weight", "pyramid.0.0.weight"),
    "bbox_head.multi_level_obj.0.conv1.weight",  # YuNet
)
_BACKBONE_MARKS = ("stage1.0.0.weight", "features.0.0.weight", "conv1.weight")
"""Names that a whole network, or a bare backbone, has once; what stands before them is its prefix."""

_NO_WEIGHTS = re.compile(r"(?:^|\.)(?:total_ops|total_params|n_averaged|priors|loss\..*)$")
"""Counters of thop and of averaging, and buffers of losses, which stand beside weights."""

_AVERAGED = re.compile(r"(?i)(?:^|[._])ema(?:[._]|$)")
YAKHYO, BIUBUG6 = "yakhyo", "biubug6 / ternaus / facexlib"
"""Families of legacy checkpoints, by how they name their weights."""

_HEADS = {"classhead": "class_heads", "bboxhead": "box_heads", "landmarkhead": "landmark_heads"}


def has_network(keys: Iterable[str]) -> bool:
    """Whether these are the names of the weights of a whole network, whatever their prefix."""
    return any(key.endswith(_NETWORK_MARKS) for key in keys)


def is_averaged(name: str) -> bool:
    """Whether weights under this name are averages over a training (EMA)."""
    return _AVERAGED.search(name) is not None


def plain_names(tensors: Mapping[str, Tensor], *, source: str) -> tuple[dict[str, Tensor], list[str]]:
    """The weights alone, without prefixes of their names, and notes on which of several networks they are.

    Raises:
        CheckpointError: several networks, none of them averaged.
    """
    state = {key.replace("_orig_mod.", ""): value for key, value in tensors.items() if not _NO_WEIGHTS.search(key)}
    notes: list[str] = []
    prefixes = _prefixes(state, _NETWORK_MARKS)
    prefix = next(filter(is_averaged, prefixes), prefixes[0] if prefixes else "")
    if len(prefixes) > 1:
        listed = ", ".join(shown(name) or "(no prefix)" for name in prefixes[:5])
        if not is_averaged(prefix):
            raise CheckpointError(f"{source}: several networks, with the prefixes {listed}; save the one that you mean")
        notes.append(f"takes the averaged weights, {shown(prefix)}, of {listed}")
        state = {key: value for key, value in state.items() if key.startswith(prefix)}
    elif not prefixes:
        prefix = min(_prefixes(state, _BACKBONE_MARKS), key=len, default="")
    return {key.removeprefix(prefix): value for key, value in state.items()}, notes


def _prefixes(keys: Iterable[str], marks: tuple[str, ...]) -> list[str]:
    found = (key.removesuffix(mark) for key in keys for mark in marks if key.endswith(mark))
    return [prefix for prefix in dict.fromkeys(found) if not prefix or prefix.endswith(".")]


def rename_key(key: str) -> str:
    """The name in our network of a weight of biubug6, ternaus, facexlib or yakhyo; unknown names come back as they are.

    Also maps the bare ImageNet MobileNetV1 files (`stage1.0.0.weight`).
    """
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


def detect_family(keys: Iterable[str]) -> str:
    """Whose names these are, for messages."""
    families = {"fx": YAKHYO, "body": BIUBUG6}
    return next((families[part] for key in keys for part in key.split(".") if part in families), "retinaface-cli")


def detect_backbone(state: Mapping[str, Tensor], *, source: str) -> BackboneName:
    """Which backbone the renamed weights belong to, from names and shapes.

    Raises:
        CheckpointError: none that we know.
    """
    stem = state.get("backbone.stage1.0.0.weight")
    if stem is not None:
        width = stem.shape[0] if stem.ndim else 0
        widths: dict[int, BackboneName] = {8: "mobilenet0.25", 16: "mobilenet0.5", 32: "mobilenet1.0"}
        if width in widths:
            return widths[width]
        raise CheckpointError(f"{source}: MobileNetV1 with {width} channels in its first layer; known: 8, 16, 32")
    if "backbone.features.18.0.weight" in state:
        return "mobilenet_v2"
    if "backbone.layer1.0.conv3.weight" in state:
        return "resnet50"
    if "backbone.layer3.5.conv1.weight" in state:
        return "resnet34"
    if "backbone.layer1.0.conv1.weight" in state:
        return "resnet18"
    first = shown(", ".join(list(state)[:5])) or "nothing"
    raise CheckpointError(
        f"{source}: not the weights of a RetinaFace network that is known here: found {first}; expected a MobileNetV1, "
        "MobileNetV2 or ResNet-18/-34/-50 backbone under body., fx. or backbone."
    )
