from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.legacy_keys import rename_key
from retinaface_cli.model.checkpoints.loading import load_imagenet_backbone, load_weights, save_weights
from retinaface_cli.model.networks import build_network
from retinaface_cli.settings.network import PREPROCESSINGS, AnchorSettings, NetworkSettings
from tests.model.reference_weights import to_old_names

NETWORK = NetworkSettings()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights of a small network under our names."""
    torch.manual_seed(0)
    return dict(build_network(NETWORK).state_dict())


def old_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under biubug6's names."""
    names = to_old_names(state)
    return {names[key]: value for key, value in state.items()}


def to_yakhyo(key: str) -> str:
    """One of biubug6's names as yakhyo has it."""
    key = key.replace("body.", "fx.")
    parts = key.split(".")
    if parts[0] == "fx" and parts[1].startswith("stage") and (parts[1], parts[2]) != ("stage1", "0"):
        index = int(parts[3])
        parts[3:4] = [str(index // 3), str(index % 3)]
    heads = {"ClassHead": "class_head", "BboxHead": "bbox_head", "LandmarkHead": "landmark_head"}
    if parts[0] in heads:
        name = heads[parts[0]]
        return ".".join([name, name, parts[1], parts[3]])
    return ".".join(parts)


def assert_same(loaded: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    assert loaded.keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(loaded[key], value, rtol=0, atol=0)


CONTAINERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "model": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}},
    "model.module": lambda state: {"state_dict": {f"model.module.{key}": value for key, value in state.items()}},
    "yakhyo": lambda state: {to_yakhyo(key): value for key, value in state.items()},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_old_weights_load_from_every_container(
    tmp_path: Path, state: dict[str, Tensor], container: str, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(CONTAINERS[container](old_state(state)), path)
    loaded = load_weights(path)
    assert loaded.network.backbone == "mobilenet0.25"
    assert loaded.network.out_channels == 64
    assert loaded.family == ("yakhyo" if container == "yakhyo" else "biubug6 / ternaus / facexlib")
    assert_same(loaded.state, state)


def test_old_weights_load_from_a_zip_and_from_torchs_old_format(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(old_state(state), tmp_path / "weights.pth")
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.write(tmp_path / "weights.pth", "inner/weights.pth")
        archive.writestr("__MACOSX/inner/._weights.pth", b"junk")
    assert_same(load_weights(tmp_path / "weights.zip").state, state)
    torch.save(old_state(state), tmp_path / "weights.tar", _use_new_zipfile_serialization=False)
    assert_same(load_weights(tmp_path / "weights.tar").state, state)


@pytest.mark.parametrize("backbone", ["mobilenet0.5", "mobilenet1.0", "mobilenet_v2", "resnet18", "resnet34"])
def test_the_backbone_is_found_out_from_names_and_shapes(tmp_path: Path, backbone: str) -> None:
    settings = NetworkSettings.model_validate({"backbone": backbone, "out_channels": 32})
    state = dict(build_network(settings).state_dict())
    torch.save(old_state(state), tmp_path / "weights.pth")
    loaded = load_weights(tmp_path / "weights.pth")
    assert (loaded.network.backbone, loaded.network.out_channels) == (backbone, 32)
    assert_same(loaded.state, state)


def test_what_was_assumed_of_the_preprocessing_is_said_and_can_be_set(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pth"
    torch.save(old_state(state), path)
    assumed = load_weights(path)
    assert assumed.network.preprocessing == PREPROCESSINGS["mean-bgr"]
    assert "assuming mean-bgr" in assumed.notes[0]
    chosen = load_weights(path, preprocessing="imagenet-rgb")
    assert chosen.network.preprocessing == PREPROCESSINGS["imagenet-rgb"]
    assert not chosen.notes


def test_anchors_can_be_set_for_old_weights_only(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(old_state(state), tmp_path / "weights.pth")
    anchors = AnchorSettings(sizes=((10.0, 20.0), (32.0, 64.0), (128.0, 256.0)))
    assert load_weights(tmp_path / "weights.pth", anchors=anchors).network.anchors == anchors
    save_weights(tmp_path / "own.safetensors", state, network=NETWORK, training={})
    with pytest.raises(CheckpointError, match="carries its own"):
        load_weights(tmp_path / "own.safetensors", anchors=anchors)


@pytest.mark.parametrize("half", [False, True])
def test_own_weights_are_complete_in_themselves(tmp_path: Path, state: dict[str, Tensor], half: bool) -> None:
    network = NetworkSettings(preprocessing=PREPROCESSINGS["mean-bgr"])
    path = tmp_path / "own.safetensors"
    state = {**state, "backbone.stage1.0.1.running_var": torch.full((8,), 1e6)}  # raw pixels: beyond float16
    save_weights(path, state, network=network, training={"epochs": 3}, half=half)
    loaded = load_weights(path)
    assert loaded.network == network
    assert loaded.training == {"epochs": 3}
    for key, value in loaded.state.items():
        if not key.endswith("num_batches_tracked"):
            assert value.dtype == torch.float32
            expected = state[key].half().float() if half and value.ndim > 1 else state[key]
            torch.testing.assert_close(value, expected, rtol=0, atol=0)
    assert loaded.build().training is False


class Evil:
    """Opening a pickle of this would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("1 + 1",))


def write_broken(kind: str, path: Path, state: dict[str, Tensor]) -> None:
    """Writes a file that cannot be used, in one of several ways."""
    old = old_state(state)
    torch.save(old, path)
    whole = path.read_bytes()
    raw = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "text": b"no weights here",
        "html": b"<!DOCTYPE html><html>404</html>",
        "bare pickle": pickle.dumps(Evil()),
    }
    saved = {
        "evil": {"state_dict": old, "hook": Evil()},
        "list": [1, 2, 3],
        "foreign": {"encoder.weight": torch.zeros(3)},
        "backbone only": {key: value for key, value in old.items() if key.startswith("body")},
        "missing keys": {key: value for key, value in old.items() if "ssh2" not in key},
        "wrong shape": {**old, "ClassHead.0.conv1x1.weight": torch.zeros(6, 64, 1, 1)},
        "not finite": {**old, "ClassHead.0.conv1x1.bias": torch.full((4,), torch.nan)},
    }
    if kind in raw:
        path.write_bytes(raw[kind])
    else:
        torch.save(saved[kind], path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "the file is empty"),
        ("truncated", "broken or truncated|not a weights file"),
        ("text", "not a weights file|broken or truncated"),
        ("html", "not a weights file|broken or truncated"),
        ("evil", "refused.*could run code"),
        ("bare pickle", "refused|not a weights file|broken"),
        ("list", "no weights in it: found list"),
        ("foreign", "found encoder.weight; expected"),
        ("backbone only", "a bare mobilenet0.25 backbone"),
        ("missing keys", r"25 missing: context\.1\.conv3x3\.0\.weight, .* and 20 more"),
        ("wrong shape", r"class_heads\.0\.weight \(6, 64, 1, 1\), wanted \(4, 64, 1, 1\)"),
        ("not finite", "not finite numbers in class_heads.0.bias"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name_and_reason(
    tmp_path: Path, state: dict[str, Tensor], kind: str, message: str
) -> None:
    path = tmp_path / "weights.pth"
    write_broken(kind, path, state)
    with pytest.raises(CheckpointError, match=message) as raised:
        load_weights(path)
    assert str(path) in str(raised.value)


def test_missing_files_folders_and_broken_safetensors_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_weights(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_weights(tmp_path)
    path = tmp_path / "own.safetensors"
    save_weights(path, state, network=NETWORK, training={})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="broken safetensors"):
        load_weights(path)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.pth", b"1")
        archive.writestr("b.pth", b"2")
    with pytest.raises(CheckpointError, match=r"one weights file in it, found a\.pth, b\.pth"):
        load_weights(tmp_path / "two.zip")


def test_imagenet_backbones_load_in_both_old_formats(tmp_path: Path, state: dict[str, Tensor]) -> None:
    backbone = {key[5:]: value for key, value in old_state(state).items() if key.startswith("body.")}
    classifier = {"fc.weight": torch.zeros(1000, 256), "fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": {f"module.{k}": v for k, v in {**backbone, **classifier}.items()}}, tmp_path / "b.tar")
    nested = {to_yakhyo(f"body.{key}")[3:]: value for key, value in backbone.items()}
    torch.save({**nested, **classifier}, tmp_path / "y.pretrained")
    for name in ("b.tar", "y.pretrained"):
        loaded = load_imagenet_backbone("mobilenet0.25", tmp_path / name)
        assert loaded.keys() == {key for key in backbone if not key.endswith("num_batches_tracked")}
        torch.testing.assert_close(loaded["stage2.1.3.weight"], backbone["stage2.1.3.weight"])
    with pytest.raises(CheckpointError, match="do not fit"):
        load_imagenet_backbone("resnet18", tmp_path / "b.tar")
    with pytest.raises(CheckpointError, match="come from a file"):
        load_imagenet_backbone("mobilenet0.25")


def test_unknown_names_are_left_alone() -> None:
    assert rename_key("something.else.weight") == "something.else.weight"


@pytest.mark.shared
def test_the_shared_weights_are_recognised(shared: Path) -> None:
    known = {"retinaface_mv1_0.25.pth": "yakhyo", "biubug6_keys_mobilenet0.25.pth": "biubug6 / ternaus / facexlib"}
    for name, family in known.items():
        loaded = load_weights(shared / "weights" / name)
        assert loaded.family == family
        assert loaded.network.preprocessing == PREPROCESSINGS["mean-bgr"]
        assert not loaded.notes  # known by its sha256
    for name in ("mobilenetV1X0.25_pretrain.tar", "mobilenetv1_0.25.pretrained"):
        assert "stage1.0.0.weight" in load_imagenet_backbone("mobilenet0.25", shared / "weights" / name)


def test_the_metadata_is_plain_json(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, state, network=NETWORK, training={"note": "by hand"})
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = json.loads(header["__metadata__"]["retinaface"])
    assert metadata["network"]["backbone"] == "mobilenet0.25"
    assert metadata["training"] == {"note": "by hand"}
    assert metadata["version"]


def test_files_of_version_0_1_are_read_and_its_further_level_is_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, state, network=NETWORK, training={})
    for strides in ([8, 16, 32], [4, 8, 16, 32]):
        with safe_open(path, "pt") as file:
            content = json.loads(file.metadata()["retinaface"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        content["network"] |= {"fine_channels": 64}
        content["network"]["anchors"]["strides"] = strides
        save_file(tensors, path, {"format": "pt", "retinaface": json.dumps(content)})
        if 4 in strides:
            with pytest.raises(CheckpointError, match="has a level of stride 4"):
                load_weights(path)
        else:
            assert load_weights(path).network == NETWORK
