"""Backbones of timm (PyTorch Image Models) by name: every model of it with feature maps of strides 8, 16 and 32."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retinaface_cli.errors import CheckpointError, SettingsError
from retinaface_cli.settings.network import TIMM_PREFIX

_STRIDES = (8, 16, 32)


class TimmFeatures(NamedTuple):
    """The feature maps of strides 8, 16 and 32 of a model.

    Attributes:
        indices: their numbers among all that it has.
        channels: of each.
        is_channels_last: whether they come as (B, H, W, C).
    """

    indices: tuple[int, ...]
    channels: tuple[int, int, int]
    is_channels_last: bool


class TimmBackbone(nn.Module):
    """A model of timm, as it stands: nothing in it is folded, and it sees what images are padded with."""

    def __init__(self, name: str, *, pretrained: dict[str, Any] | None = None) -> None:
        """Makes the model.

        Args:
            name: without "timm/".
            pretrained: arguments of timm.create_model for its weights; None: random ones.

        Raises:
            SettingsError: timm is not installed, or has no such model with feature maps of strides 8, 16 and 32.
        """
        super().__init__()
        features = find_features(name)
        self._is_channels_last = features.is_channels_last
        self.scaling = nn.Conv2d(3, 3, 1, bias=False).requires_grad_(False)  # takes in the normalisation, for running
        with torch.no_grad():
            self.scaling.weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
        self.model = _timm().create_model(name, features_only=True, out_indices=features.indices, **(pretrained or {}))

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """The feature maps of strides 8, 16 and 32 of images whose sides are multiples of 32 pixels."""
        maps = self.model(self.scaling(images))
        fine, middle, coarse = (one.permute(0, 3, 1, 2) for one in maps) if self._is_channels_last else maps
        return fine, middle, coarse


def own_modules(network: nn.Module) -> Iterator[nn.Module]:
    """All modules of a network but those of timm, whose order of layers is not known."""
    yield network
    for child in network.children():
        if isinstance(child, TimmBackbone):
            yield child.scaling
        else:
            yield from own_modules(child)


def pretrained_state(name: str, path: Path | None, *, cached: Path) -> dict[str, Tensor]:
    """The weights that timm offers for a model, by the names of TimmBackbone.

    Args:
        name: without "timm/".
        path: a file of them, by timm's own names; None: fetched by timm into its own cache.
        cached: a file that is taken instead where it exists.

    Raises:
        CheckpointError: timm offers none, they cannot be fetched, or the file does not fit.
        SettingsError: see TimmBackbone.
    """
    file = path or (cached if cached.is_file() else None)
    source: dict[str, Any] = {"pretrained": True}
    if file is not None:
        source["pretrained_cfg_overlay"] = {"file": str(file)}
    find_features(name)
    try:
        first, second = (_load_seeded(name, source, seed) for seed in (0, 1))
    except Exception as error:  # timm lets through what torch, safetensors, huggingface_hub and urllib raise
        reason = " ".join(str(error).split())[:200]
        if file is not None:
            raise CheckpointError(f"{file}: not the weights of timm's {name}: {reason}") from None
        raise CheckpointError(
            f"{TIMM_PREFIX}{name}: its weights cannot be fetched ({reason}); download {_address(name)} by hand and put "
            f"it at {cached}, or set backbone_weights to a file of them or to none"
        ) from None
    drawn = [key for key, value in first.items() if not torch.equal(value, second[key])]
    if drawn:  # timm takes what fits and leaves the rest at random
        raise CheckpointError(f"{file or name}: not the weights of timm's {name}: without {', '.join(drawn[:3])}")
    return first


def _load_seeded(name: str, source: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """The state of a model with weights, where what has none is drawn by the seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return TimmBackbone(name, pretrained=source).state_dict()


def _address(name: str) -> str:
    """Where the weights of a model are published."""
    published = _timm().get_pretrained_cfg(name)
    if published is None or not (published.hf_hub_id or published.url):
        return "weights of this model"
    if not published.hf_hub_id:
        return str(published.url)
    return f"https://huggingface.co/{published.hf_hub_id}/resolve/main/model.safetensors"


@lru_cache
def find_features(name: str) -> TimmFeatures:
    """What a model of timm, by its name without "timm/", gives.

    Raises:
        SettingsError: timm is not installed, or has no such model with feature maps of strides 8, 16 and 32.
    """
    timm = _timm()
    known = timm.list_models()
    if name.partition(".")[0] not in known:
        nearest = ", ".join(difflib.get_close_matches(name, known, n=3)) or "see timm.list_models()"
        raise SettingsError(f"network.backbone: timm has no model {name}; nearest: {nearest}")
    try:
        with torch.device("meta"):
            model = timm.create_model(name, features_only=True, pretrained=False)
        strides, channels = model.feature_info.reduction(), model.feature_info.channels()
    except Exception as error:  # of any kind: every model of timm has its own way of not having feature maps
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(f"network.backbone: timm's {name} gives no feature maps ({reason})") from None
    if not set(_STRIDES) <= set(strides):
        found = ", ".join(map(str, sorted(set(strides))))
        raise SettingsError(f"network.backbone: timm's {name} has feature maps of strides {found}; wanted 8, 16 and 32")
    places = [len(strides) - 1 - strides[::-1].index(stride) for stride in _STRIDES]  # the deepest of each stride
    fine, middle, coarse = (channels[place] for place in places)
    is_channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
    return TimmFeatures(tuple(places), (fine, middle, coarse), is_channels_last)


def _timm() -> Any:
    """The library."""
    if importlib.util.find_spec("timm") is None:
        raise SettingsError("network.backbone: timm is not installed; get it with: pip install 'retinaface-cli[timm]'")
    import timm

    return timm
