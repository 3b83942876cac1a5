"""Serialised albumentations pipelines of old configs, as lists of transforms by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from retinaface_cli.errors import SettingsError

_DONE_ELSEWHERE = {
    "Resize": "the crop is scaled to data.image_size",
    "Normalize": "network.preprocessing",
    "ToTensor": "always done",
    "ToTensorV2": "always done",
    "HorizontalFlip": "augmentation.flip.horizontal",
}
_GONE_ARGUMENTS = {"always_apply": False, "eps": 1e-07}
"""Arguments that albumentations no longer has, and the value at which their loss changes nothing."""


def list_transforms(serialised: Any, *, source: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The transforms of a serialised Compose as `{"name": ..., "arguments": {...}}`, and what had to be changed.

    Args:
        serialised: as albumentations writes it, `{"transform": {"__class_fullname__": ..., "transforms": [...]}}`.
        source: names file and key in errors.

    Raises:
        SettingsError: not of that form, or with a group that is no plain sequence.
    """
    transforms: list[dict[str, Any]] = []
    notes: list[str] = []
    for entry in _entries(serialised, source=source):
        arguments = {key: value for key, value in entry.items() if not key.startswith("__")}
        name = _name(entry, source=source)
        if name in _DONE_ELSEWHERE:
            notes.append(f"{name} is left out: {_DONE_ELSEWHERE[name]}")
            continue
        for key, harmless in _GONE_ARGUMENTS.items():
            value = arguments.pop(key, harmless)
            if value != harmless:
                notes.append(f"{name}: {key}={value} is left out; albumentations no longer has it")
        transforms.append({"name": name, "arguments": arguments})
    return transforms, notes


def find_normalization(serialised: Any) -> dict[str, Any] | None:
    """Mean and standard deviation of the Normalize in a pipeline, on the scale 0 to 255; None where there is none."""
    for entry in _entries(serialised, source="train_aug"):
        if _name(entry, source="train_aug") == "Normalize":
            scale = float(entry.get("max_pixel_value", 255.0))
            mean = [round(scale * value, 6) for value in entry["mean"]]
            std = [round(scale * value, 6) for value in entry["std"]]
            return {"color_order": "rgb", "mean": mean, "std": std}
    return None


def _entries(serialised: Any, *, source: str) -> Iterator[Mapping[str, Any]]:
    """The transforms of a Compose, those of inner ones too."""
    inner = serialised.get("transform", serialised) if isinstance(serialised, Mapping) else serialised
    if not isinstance(inner, Mapping):
        raise SettingsError(f"{source}: expected a serialised albumentations pipeline, got {type(inner).__name__}")
    if "transforms" not in inner:
        yield inner
        return
    name = _name(inner, source=source)
    if name not in ("Compose", "Sequential"):
        raise SettingsError(
            f"{source}: {name} has no counterpart here; put the transforms of it that you want into augmentation.extra"
        )
    for entry in inner["transforms"]:
        yield from _entries(entry, source=source)


def _name(entry: Mapping[str, Any], *, source: str) -> str:
    """The name of a transform's class: the last part of its old import path."""
    full_name = entry.get("__class_fullname__")
    if not isinstance(full_name, str):
        raise SettingsError(f"{source}: expected __class_fullname__ in each transform, got the keys {list(entry)}")
    return full_name.rsplit(".", 1)[-1]
