"""Checkpoints with wrong bytes and wrong structures: loaded, or refused with one message; never a traceback."""

from __future__ import annotations

import functools
import io
import itertools
import math
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.loading import load_imagenet_backbone, load_weights, save_weights
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.yunet import YuNet
from retinaface_cli.settings.network import NetworkSettings
from tests.fuzz.mutation import mutate, numbers_of_cases, time_limit
from tests.model.reference_weights import to_old_names
from tests.model.test_yunet import published_names

NETWORK = NetworkSettings(out_channels=4)
PICKLE_TOKENS = (
    *(b"(", b".", b"0", b"2", b"]", b"}", b"q\x00", b"h\x00", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f"),
    *(b"R", b"b", b"Q", b"u", b"\x85", b"\x86", b"N", b"\x88", b"K\x05", b"s", b"a", b"e", b"\x81", b"cos\nsystem\n"),
)


@functools.cache
def legacy_state() -> dict[str, Tensor]:
    """Random weights of a small network under biubug6's names."""
    torch.manual_seed(0)
    state = build_network(NETWORK).state_dict()
    names = to_old_names(state)
    return {names[key]: value for key, value in state.items()}


def saved(content: object, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def write_own(path: Path) -> bytes:
    save_weights(path, build_network(NETWORK).state_dict(), network=NETWORK, training={"epochs": 3})
    return path.read_bytes()


def mutated(kind: str, original: bytes, chance: random.Random) -> bytes:
    """The file with wrong bytes: anywhere, in its first bytes, or in the pickle of a zip with right checksums."""
    if kind == "pickle":
        with zipfile.ZipFile(io.BytesIO(original)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = next(name for name in members if name.endswith("data.pkl"))
        data = members[name]
        at = chance.randrange(len(data))
        changed = data[:at] + chance.choice(PICKLE_TOKENS) + data[at + chance.choice((0, 1, 2)) :]
        return zipped(members | {name: changed if chance.random() < 0.5 else mutate(data, chance)})
    if chance.random() < 0.5:
        return mutate(original, chance)
    num_head = chance.choice((30, 300, 3000, 30_000))
    return mutate(original[:num_head], chance) + original[num_head:]


def check(path: Path) -> bool:
    """Whether the file can be loaded; both ways to read it end in weights or in one short message."""
    is_loaded = True
    for load in (load_weights, lambda path: load_imagenet_backbone("mobilenet0.25", path)):
        try:
            with time_limit():
                loaded = load(path)
        except CheckpointError as error:
            text = str(error)
            assert text.startswith(str(path))
            assert text.isprintable()
            assert len(text) < 1500
            is_loaded = is_loaded and load is not load_weights
        else:
            state = loaded if isinstance(loaded, dict) else loaded.state
            assert all(value.isfinite().all() for value in state.values())
    return is_loaded


KINDS: Mapping[str, Callable[[Path], bytes]] = {
    "zip": lambda _: saved({"state_dict": legacy_state(), "epoch": 3}),
    "pickle": lambda _: saved({"state_dict": legacy_state(), "epoch": 3}),
    "legacy": lambda _: saved(legacy_state(), _use_new_zipfile_serialization=False),
    "safetensors": write_own,
    "own": lambda _: saved(own_with(network=NETWORK.model_dump(mode="json"), weights_prefix="", training={})),
    "yunet": lambda _: saved({"state_dict": published_names(YuNet(NetworkSettings(network="yunet")))}),
}


@numbers_of_cases(200)
def test_checkpoints_with_wrong_bytes_are_loaded_or_refused(count: int, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    originals = {kind: make(path) for kind, make in KINDS.items()}
    for original in originals.values():
        path.write_bytes(original)
        assert check(path)
    chance = random.Random(count)  # the same in every run
    for _ in range(count):
        kind = chance.choice(list(originals))
        path.write_bytes(mutated(kind, originals[kind], chance))
        check(path)


def nested(depth: int, make: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(depth):
        inner = make(inner)
    return inner


def cyclic() -> dict[str, Any]:
    content: dict[str, Any] = {"list": []}
    content["state_dict"] = content
    content["list"].append(content["list"])
    return content


STEM, HEAD = "body.stage1.0.0.weight", "fpn.output1.0.weight"
ODD_TENSORS: Mapping[str, Any] = {
    "scalar": torch.tensor(1.0),
    "empty": torch.zeros(0),
    "one channel": torch.zeros(1, 1, 1, 1),
    "many dimensions": torch.zeros([1] * 20),
    "integers": torch.zeros(8, 3, 3, 3, dtype=torch.int64),
    "complex": torch.zeros(8, 3, 3, 3, dtype=torch.complex64),
    "booleans": torch.zeros(8, 3, 3, 3, dtype=torch.bool),
    "float8": torch.zeros(8, 3, 3, 3).to(torch.float8_e4m3fn),
    "meta": torch.zeros(8, 3, 3, 3, device="meta"),
    "sparse": torch.zeros(8, 3).to_sparse(),
    "expanded": torch.zeros(1).expand(1 << 20, 1 << 20),
    "none": None,
    "number": 5,
    "text": "x" * 100_000,
    "list": [torch.zeros(8, 3, 3, 3)],
    "dict": {"weight": torch.zeros(8, 3, 3, 3)},
}
STRUCTURES: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "number": lambda: 5,
    "text": lambda: "weights",
    "tensor": lambda: torch.zeros(3),
    "empty dict": dict,
    "empty lists": lambda: [[], [[]], {}],
    "empty container": lambda: {"state_dict": {}},
    "container of numbers": lambda: {"state_dict": {HEAD: 1, STEM: [2.5]}},
    "container of text": lambda: {"state_dict": "weights", "model": "x"},
    "keys that are numbers": lambda: {1: torch.zeros(3), 2.5: torch.zeros(3), None: {}},
    "keys that are tuples": lambda: {("a", "b"): torch.zeros(3), "x": torch.zeros(1)},
    "keys that cannot be printed": lambda: {"\x1b[31m\n" * 1000: torch.zeros(3), "\ud800": torch.zeros(1)},
    "deep dicts": lambda: nested(900, lambda inner: {"state_dict": inner}, {STEM: torch.zeros(3)}),
    "deep lists": lambda: nested(900, lambda inner: [inner], torch.zeros(3)),
    "deep tuples": lambda: {"x": nested(150, lambda inner: (inner,), torch.zeros(3))},
    "cyclic": cyclic,
    "many": lambda: [{str(number): torch.zeros(1)} for number in range(3000)],
    "metadata that is none": lambda: {"retinaface": 5, "state_dict": legacy_state()},
    "metadata without values": lambda: {"retinaface": {"network": None}, "state_dict": legacy_state()},
    "anchors that are none": lambda: own_with(network={"anchors": {"strides": 5}}),
    "network that is too large": lambda: own_with(network=NETWORK.model_dump(mode="json") | {"out_channels": 1 << 50}),
    "anchors that are not finite": lambda: own_with(
        network=changed_network(anchors={"sizes": [[8], [math.nan], [32]]})
    ),
    "mean that is not finite": lambda: own_with(network=changed_network(preprocessing={"mean": [math.nan, 0, 0]})),
    "std that is not finite": lambda: own_with(network=changed_network(preprocessing={"std": [math.nan, 1, 1]})),
    "network of text": lambda: own_with(network="mobilenet0.25"),
    "prefix that is none": lambda: own_with(network=NETWORK.model_dump(mode="json"), weights_prefix=[1]),
    "training that is none": lambda: own_with(network=NETWORK.model_dump(mode="json"), training=7),
}


def with_odd_yunet(key: str, value: object) -> Callable[[], Any]:
    return lambda: published_names(YuNet(NetworkSettings(network="yunet"))) | {key: value}


def with_odd_tensor(key: str, value: object) -> Callable[[], Any]:
    return lambda: OrderedDict(legacy_state() | {key: value})


YUNET_HEAD = "bbox_head.multi_level_obj.0.conv"
for _layer, _kind in itertools.product((1, 2), ("weight", "bias")):
    _key = f"{YUNET_HEAD}{_layer}.{_kind}"
    STRUCTURES |= {f"{kind} for {_key}": with_odd_yunet(_key, value) for kind, value in ODD_TENSORS.items()}
for _key in (STEM, HEAD, "body.stage1.0.1.running_var", "body.stage1.0.1.num_batches_tracked"):
    STRUCTURES |= {f"{kind} for {_key}": with_odd_tensor(_key, value) for kind, value in ODD_TENSORS.items()}


def changed_network(**groups: dict[str, Any]) -> dict[str, Any]:
    network = NETWORK.model_dump(mode="json")
    return network | {name: network[name] | group for name, group in groups.items()}


def own_with(**metadata: Any) -> dict[str, Any]:
    return {"state_dict": build_network(NETWORK).state_dict(), "retinaface": metadata}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_checkpoints_of_any_structure_are_loaded_or_refused(tmp_path: Path, options: Mapping[str, Any]) -> None:
    for name, make in STRUCTURES.items():
        path = tmp_path / f"{name.replace(' ', '_')}.pth"
        try:
            path.write_bytes(saved(make(), **options))
        except (RuntimeError, NotImplementedError, RecursionError, pickle.PicklingError):
            continue  # what this version of PyTorch cannot write in this format
        check(path)
