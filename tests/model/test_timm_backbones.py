"""Models of timm as backbones, without network: random weights, or weights from a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from retinaface_cli.errors import CheckpointError, RetinaFaceError, SettingsError
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints.loading import load_imagenet_backbone
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.timm_backbones import TimmBackbone, find_features
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.network import NetworkSettings

timm = pytest.importorskip("timm")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of a test."""
    monkeypatch.setenv("RETINAFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_a_model_gives_three_maps_in_the_order_of_the_anchors(model: str) -> None:
    settings = NetworkSettings(backbone=f"timm/{model}")
    network = build_network(settings).eval()
    with torch.inference_mode():
        maps = network.backbone(torch.rand(2, 3, 64, 96))
        outputs = network(torch.rand(2, 3, 65, 75))
    shapes = [(2, c, 64 // s, 96 // s) for c, s in zip(find_features(model).channels, (8, 16, 32), strict=True)]
    assert [tuple(one.shape) for one in maps] == shapes
    num_anchors = len(generate_anchors((65, 75), settings.anchors.sizes, settings.anchors.strides))
    assert outputs.class_logits.shape == (2, num_anchors, 2)


def test_maps_with_the_channels_last_are_turned() -> None:
    with torch.device("meta"):
        maps = TimmBackbone("swin_tiny_patch4_window7_224")(torch.zeros(1, 3, 224, 224))
    assert [tuple(one.shape) for one in maps] == [(1, 192, 28, 28), (1, 384, 14, 14), (1, 768, 7, 7)]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("test_resnett", "timm has no model test_resnett; nearest: test_resnet"),
        ("vit_tiny_patch16_224", "has feature maps of strides 16; wanted 8, 16 and 32"),
        ("mixer_s32_224", "gives no feature maps|has feature maps of strides"),
    ],
)
def test_models_that_do_not_fit_are_refused(model: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_network(NetworkSettings(backbone=f"timm/{model}"))


def test_other_names_are_told_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"backbone: expected one of mobilenet0\.25, .*, or timm/NAME, got 'vgg'"):
        validate_settings(NetworkSettings, {"backbone": "vgg"}, source="config.yaml")


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    find_features.cache_clear()
    with pytest.raises(SettingsError, match=r"pip install 'retinaface-cli\[timm\]'"):
        build_network(NetworkSettings(backbone="timm/test_resnet"))


def test_weights_come_from_a_file_of_timms_names(tmp_path: Path, cache: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model("test_resnet", pretrained=False)
    torch.save(whole.state_dict(), tmp_path / "resnet.pth")
    expected = whole.state_dict()["layer2.0.conv1.weight"]
    for path in (tmp_path / "resnet.pth", None):
        state = load_imagenet_backbone("timm/test_resnet", path)
        assert torch.equal(state["model.layer2.0.conv1.weight"], expected)
        build_network(NetworkSettings(backbone="timm/test_resnet")).backbone.load_state_dict(state)
        cache.mkdir(exist_ok=True)
        save_file(whole.state_dict(), cache / "test_resnet.safetensors")  # taken where no file is named
    torch.save({"x": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: not the weights of timm's test_resnet"):
        load_imagenet_backbone("timm/test_resnet", tmp_path / "other.pth")


def test_without_a_connection_it_is_said_which_file_to_put_where(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def refuse(*arguments: Any, **options: Any) -> Any:
        if options.get("pretrained"):
            raise OSError("no route to host")
        return create(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(RetinaFaceError) as caught:
        load_imagenet_backbone("timm/test_resnet")
    message = str(caught.value)
    assert "timm/test_resnet: its weights cannot be fetched (no route to host)" in message
    assert "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors" in message
    assert str(cache / "test_resnet.safetensors") in message
