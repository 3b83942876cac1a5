from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.files import read_weight_file
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


PREFIXES = ("module", "model", "model.module", "_orig_mod", "_orig_mod.module", "net", "detector", "a.b.c")


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in state.items()}


def with_prefix(prefix: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda state: {"state_dict": prefixed(f"{prefix}.", state)}


CONTAINERS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    **{prefix: with_prefix(prefix) for prefix in PREFIXES},
    "_orig_mod. inside": lambda state: {key.replace("body.", "body._orig_mod."): value for key, value in state.items()},
    "yakhyo": lambda state: {to_yakhyo(key): value for key, value in state.items()},
    "model_state_dict": lambda state: {"epoch": 3, "model_state_dict": state},
    "model in a dict": lambda state: {"epoch": 3, "model": state},
    "counters": lambda state: {
        **prefixed("module.", state),
        **{"module.n_averaged": torch.tensor(3), "n_averaged": torch.tensor(3), "module.priors": torch.zeros(9, 4)},
        **{"total_ops": torch.zeros(1), "module.body.stage1.total_params": torch.zeros(1)},
        **{"loss.priors": torch.zeros(9, 4), "module.loss.weight": torch.zeros(2)},
    },
    "numpy scalars": lambda state: {
        "state_dict": state,
        "best": np.float64(0.5),
        "epoch": np.int64(3),
        "history": {"rng": np.random.RandomState(0).get_state(), "losses": [np.float32(1)] * 3},
    },
    "arguments": lambda state: {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1),
        "seen": {1, 2},
        "size": (1, 2),
    },
    "parameters": lambda state: {key: torch.nn.Parameter(value, False) for key, value in state.items()},
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_old_weights_load_from_every_container(tmp_path: Path, state: dict[str, Tensor], container: str) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save(CONTAINERS[container](old_state(state)), path)
    loaded = load_weights(path)
    assert loaded.network.backbone == "mobilenet0.25"
    assert loaded.network.out_channels == 64
    assert loaded.family == ("yakhyo" if container == "yakhyo" else "biubug6 / ternaus / facexlib")
    assert_same(loaded.state, state)
    assert not any("takes" in note for note in loaded.notes)


MakeContent = Callable[[dict[str, Tensor], dict[str, Tensor]], Any]


def alone(name: str) -> tuple[MakeContent, str]:
    return lambda state, _: {"epoch": 3, name: state}, f"takes the weights in {name}"


def averaged(name: str, other_name: str) -> tuple[MakeContent, str]:
    note = f"takes the weights in {name}, not those in {other_name}"
    return lambda state, other: {other_name: other, name: state}, note


OTHER_CONTAINERS: dict[str, tuple[MakeContent, str]] = {
    **{name: alone(name) for name in ("net", "network", "params", "weights", "ema", "model_ema", "anything")},
    "ema beside state_dict": averaged("ema", "state_dict"),
    "model_ema beside model": averaged("model_ema", "model"),
    "state_dict_ema": averaged("state_dict_ema", "state_dict"),
    "ema_state_dict": averaged("ema_state_dict", "state_dict"),
    "params_ema": averaged("params_ema", "params"),
    "list": (lambda state, _: [state], "takes the weights in 0"),
    "ema in a module": (lambda state, _: {"ema": {"module": state, "decay": 0.9}}, "takes the weights in ema.module"),
    "ema without weights": (
        lambda state, _: {"ema": {"decay": 0.9, "shadow": torch.zeros(3)}, "params": state},
        "takes the weights in params",
    ),
    "the first of two": (lambda state, other: {"a": state, "b": other}, "takes the weights in a, not those in b"),
    "averaged by prefix": (
        lambda state, other: {**prefixed("model.", other), **prefixed("ema_model.", state)},
        "takes the averaged weights, ema_model., of model., ema_model.",
    ),
}


@pytest.mark.parametrize("container", OTHER_CONTAINERS)
def test_it_is_said_which_of_several_weights_are_taken(
    tmp_path: Path, state: dict[str, Tensor], container: str
) -> None:
    make, note = OTHER_CONTAINERS[container]
    other = {key: value + 1 for key, value in old_state(state).items()}
    torch.save(make(old_state(state), other), tmp_path / "weights.pth")
    loaded = load_weights(tmp_path / "weights.pth")
    assert loaded.notes[0] == f"weights.pth: {note}"
    assert_same(loaded.state, state)


def test_of_several_networks_in_one_state_dict_none_is_guessed(tmp_path: Path, state: dict[str, Tensor]) -> None:
    torch.save(prefixed("teacher.", old_state(state)) | prefixed("student.", old_state(state)), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"several networks, with the prefixes teacher\., student\.; save"):
        load_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_dtype_stride_and_protocol_is_read_as_torch_reads_it(tmp_path: Path, protocol: int) -> None:
    storage = torch.arange(24.0)
    dtypes = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.bool)
    content = {
        **{str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in dtypes},
        **{"view": storage[4:10], "transposed": storage.reshape(4, 6).T, "step": storage[::3], "scalar": storage[5]},
        **{"empty": torch.zeros(0, 3), "complex": torch.complex(storage, storage), "last": storage[23:]},
    }
    for is_zip in (True, False):
        torch.save(content, tmp_path / "w.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
        found = read_weight_file(tmp_path / "w.pth").tensors
        assert found.keys() == content.keys()
        for key, value in content.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=0)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "zip": lambda data: zipped({"inner/weights.pth": data, "__MACOSX/inner/._weights.pth": b"junk"}),
    "zip with a README": lambda data: zipped({"README.md": b"read me", "LICENSE": b"MIT", "weights.pth": data}),
    "zip with .DS_Store": lambda data: zipped({".DS_Store": b"\0\0", "a/.hidden/x.pth": b"x", "a/weights": data}),
    "zip in zip": lambda data: zipped({"b.zip": zipped({"a.pth": data}), "readme.txt": b"x"}),
    "torch's own, packed again": lambda data: zipped(unzipped(data)),
    "torch's own in a folder": lambda data: zipped({f"a/b/{name}": part for name, part in unzipped(data).items()}),
    "tar": lambda data: tarred({"weights/retinaface_mobilenet.pth": data}),
    "tar with a README": lambda data: tarred({"README": b"read me", "._weights.pth": b"x", "weights.pth": data}),
    "tar.gz": lambda data: gzip.compress(tarred({"weights.pth": data})),
    "gz": gzip.compress,
    "zip of a tar": lambda data: zipped({"weights.tar": tarred({"weights.pth": data})}),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_old_weights_load_from_every_archive(tmp_path: Path, state: dict[str, Tensor], kind: str) -> None:
    torch.save(old_state(state), tmp_path / "weights.pth")
    data = ARCHIVES[kind]((tmp_path / "weights.pth").read_bytes())
    (tmp_path / "packed").write_bytes(data)
    loaded = load_weights(tmp_path / "packed")
    assert loaded.sha256 == hashlib.sha256(data).hexdigest()
    assert_same(loaded.state, state)


def test_old_weights_load_from_torchs_old_format(tmp_path: Path, state: dict[str, Tensor]) -> None:
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


def test_what_was_assumed_is_said_and_can_be_set(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "weights.pth"
    torch.save(old_state(state), path)
    assumed = load_weights(path)
    assert assumed.network.preprocessing == PREPROCESSINGS["mean-bgr"]
    assert "assuming mean-bgr" in assumed.notes[0]
    assert "does not say its anchors; assuming [[16,32],[64,128],[256,512]]" in assumed.notes[1]
    assert '--anchors "[[10,20],[32,64],[128,256]]"' in assumed.notes[1]
    chosen = load_weights(path, preprocessing="imagenet-rgb")
    assert chosen.network.preprocessing == PREPROCESSINGS["imagenet-rgb"]
    assert ["anchors" in note for note in chosen.notes] == [True]
    assert not load_weights(path, preprocessing="mean-bgr", anchors=AnchorSettings()).notes


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


def exported(path: Path) -> bytes:
    """A small network as a program of torch.export."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
    torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 4, 4),)), str(path))
    return path.read_bytes()


def write_broken(kind: str, path: Path, state: dict[str, Tensor]) -> None:
    """Writes a file that cannot be used, in one of several ways."""
    old = old_state(state)
    torch.save(old, path)
    whole = path.read_bytes()
    raw: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "truncated": lambda: whole[: len(whole) // 2],
        "text": lambda: b"no weights here, only text",
        "html": lambda: b"\n<!DOCTYPE html><html>404</html>",
        "lfs": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1",
        "bare pickle": lambda: pickle.dumps(Evil()),
        "pickled arrays": lambda: pickle.dumps({"a": np.zeros(3)}, 2),
        "tar of texts": lambda: tarred({"a.txt": b"a", "b.txt": b"b"}),
        "zip of texts": lambda: zipped({"a.txt": b"a", "b.txt": b"b"}),
        "empty zip": lambda: zipped({}),
        "bzip2 in a zip": lambda: zipped({"weights.pth": whole}, zipfile.ZIP_BZIP2),
        "torchscript": lambda: zipped({"w/data.pkl": b"", "w/code/__torch__.py": b"", "w/constants.pkl": b""}),
        "torch.export": lambda: exported(path),
        "wrong checksum": lambda: whole.replace(old["body.stage1.0.0.weight"].numpy().tobytes()[:40], b"\0" * 40),
    }
    bias, variance = "ClassHead.0.conv1x1.bias", "body.stage1.0.1.running_var"
    saved = {
        "evil": {"state_dict": old, "hook": Evil()},
        "evil name": {"state_dict": old, "hook": eval},
        "whole network": torch.nn.Sequential(torch.nn.ReLU()),
        "list": [1, 2, 3],
        "foreign": {"encoder.weight": torch.zeros(3)},
        "backbone only": {key: value for key, value in old.items() if key.startswith("body")},
        "missing keys": {key: value for key, value in old.items() if "ssh2" not in key},
        "wrong shape": {**old, "ClassHead.0.conv1x1.weight": torch.zeros(6, 64, 1, 1)},
        "not finite": {**old, bias: torch.full((4,), torch.nan)},
        "too large for float32": {**old, bias: torch.full((4,), 1e300, dtype=torch.float64)},
        "integers": {**old, bias: torch.zeros(4, dtype=torch.int8)},
        "complex": {**old, bias: torch.zeros(4, dtype=torch.complex64)},
        "negative variance": {**old, variance: old[variance] - 2},
    }
    if kind in raw:
        path.write_bytes(raw[kind]())
    else:
        torch.save(saved[kind], path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "the file is empty"),
        ("truncated", "broken or truncated|not a weights file"),
        ("text", "is a text file; expected weights as"),
        ("html", "is a web page, not weights; download what it links to"),
        ("lfs", "is a pointer of Git LFS, not weights; run `git lfs pull`"),
        ("pickled arrays", "a pickle that torch.save did not write"),
        ("tar of texts", r"is a tar archive; expected one weights file in it, found a\.txt, b\.txt"),
        ("zip of texts", r"is a zip archive; expected one weights file in it, found a\.txt, b\.txt"),
        ("empty zip", "is a zip archive; expected one weights file in it, found nothing"),
        ("bzip2 in a zip", "packed in a rare way; pack it again"),
        (
            "torchscript",
            r"is a TorchScript program, not weights; torch\.save\(torch\.jit\.load\(FILE\)\.state_dict",
        ),
        ("torch.export", r"is a program of torch.export, not weights; torch\.save\(torch\.export\.load\(FILE\)"),
        ("wrong checksum", "broken or truncated"),
        ("evil name", "refused.*could run code"),
        ("whole network", r"refused.*torch\.nn\.modules\.container\.Sequential.*state_dict"),
        ("evil", "refused.*could run code"),
        ("bare pickle", "refused|not a weights file|broken"),
        ("list", "no weights in it: found list"),
        ("foreign", "found encoder.weight; expected"),
        ("backbone only", "a bare mobilenet0.25 backbone"),
        ("missing keys", r"25 missing: context\.1\.conv3x3\.0\.weight, .* and 20 more"),
        ("wrong shape", r"class_heads\.0\.weight \(6, 64, 1, 1\), wanted \(4, 64, 1, 1\)"),
        ("not finite", "not finite numbers in class_heads.0.bias"),
        ("too large for float32", "not finite numbers in class_heads.0.bias"),
        ("integers", r"not floating-point numbers: class_heads\.0\.bias \(torch\.int8\)"),
        ("complex", r"not floating-point numbers: class_heads\.0\.bias \(torch\.complex64\)"),
        ("negative variance", r"variances below 0 in backbone\.stage1\.0\.1\.running_var"),
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
    with pytest.raises(CheckpointError, match="No such file"):
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


@pytest.mark.shared
def test_the_anchors_of_the_1mb_family_are_known_for_its_file_and_assumed_for_a_copy(
    shared: Path, tmp_path: Path
) -> None:
    path = shared / "weights" / "one_mb_family_mobilenet0.25.pth"
    known = load_weights(path)
    assert known.network.anchors.sizes == ((10, 20), (32, 64), (128, 256))
    assert not known.notes
    torch.save(read_weight_file(path).tensors, tmp_path / "copy.pth")
    copied = load_weights(tmp_path / "copy.pth")
    assert copied.network.anchors == AnchorSettings()
    assert "does not say its anchors; assuming [[16,32],[64,128],[256,512]]" in copied.notes[-1]
    assert '--anchors "[[10,20],[32,64],[128,256]]"' in copied.notes[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"anchors": {"sizes": [[8], [float("nan")], [32]], "strides": [8, 16, 32]}},
        {"preprocessing": {"mean": [float("nan"), 0, 0]}},
        {"preprocessing": {"std": [1, 1, float("inf")]}},
        {"out_channels": 1 << 50},
        {"backbone": "resnet9"},
    ],
)
def test_own_files_that_describe_no_network_are_refused(
    tmp_path: Path, state: dict[str, Tensor], changes: dict[str, Any]
) -> None:
    content = {"network": NETWORK.model_dump(mode="json") | changes}
    torch.save({"state_dict": state, "retinaface": content}, tmp_path / "own.ckpt")
    with pytest.raises(CheckpointError, match=r"own.ckpt: (does not describe a network|no network can be built)"):
        load_weights(tmp_path / "own.ckpt")


def test_the_metadata_is_plain_json(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "own.safetensors"
    save_weights(path, state, network=NETWORK, training={"note": "by hand"})
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = json.loads(header["__metadata__"]["retinaface"])
    assert metadata["network"]["backbone"] == "mobilenet0.25"
    assert metadata["training"] == {"note": "by hand"}
    assert metadata["version"]


def test_a_safetensors_file_may_begin_with_any_byte(tmp_path: Path, state: dict[str, Tensor]) -> None:
    first_bytes = set()
    for length in range(0, 256, 8):  # the length of the header is a multiple of 8
        path = tmp_path / f"{length}.safetensors"
        save_weights(path, state, network=NETWORK, training={"note": "x" * length})
        first_bytes.add(path.read_bytes()[0])
        assert load_weights(path).training == {"note": "x" * length}
    assert first_bytes == set(range(0, 256, 8))  # 0x80, a pickle's, among them


def test_the_same_weights_are_the_same_file(tmp_path: Path) -> None:
    for number in range(12):
        save_weights(tmp_path / str(number), {"a": torch.ones(2), "b": torch.ones(3)}, network=NETWORK, training={})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


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
