"""Opening of weights files in every container that is about, without ever running code that is in them."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import re
import struct
import tarfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError, shown
from retinaface_cli.files.reading import parse_json, read_bytes
from retinaface_cli.model.checkpoints.legacy_keys import has_network, is_averaged
from retinaface_cli.model.checkpoints.pickles import StoredTensor, read_pickle

MAX_BYTES = 1 << 30
"""Bound of a weights file; the training state of a ResNet-50 takes half of it."""

_MIN_UNPACKED, _MAX_RATIO = 64 << 20, 20
"""An archive may unpack to this many bytes, or to so many times its size; weights shrink to half at the most."""

_METADATA_KEY = "retinaface"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WEIGHT_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".safetensors", ".zip", ".gz", ".bin", ".pkl", ".pretrained")
_EXPECTED = "expected weights as .safetensors, .pth, .pt, .tar, .ckpt or a .zip of one of them"
_OTHER_KINDS = {
    rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)": "a web page, not weights; download what it links to",
    rb"version https://git-lfs": "a pointer of Git LFS, not weights; run `git lfs pull` where it came from",
    rb"[\t\n\r -~]{16}": f"a text file; {_EXPECTED}",
}
"""How other kinds of files begin, and what is said of them."""

_EXPORTED = {
    "constants.pkl": ("a TorchScript program", "torch.jit.load(FILE).state_dict()"),
    "models/model.json": ("a program of torch.export", "torch.export.load(FILE).state_dict"),
    "serialized_exported_program.json": ("a program of torch.export", "torch.export.load(FILE).state_dict"),
}
"""Files in the archives of programs: what these are, and what gives their weights."""

_USUAL_PLACES = ("", "state_dict", "model_state_dict", "model")
_MAX_SEARCHED = 10_000

Content = tuple[object, Callable[[str], bytes]]
"""What a file holds, and what reads the values of a storage by its key."""


class WeightFile(NamedTuple):
    """What a weights file holds.

    Attributes:
        tensors: names as they stand in the file.
        metadata: what our own tool stored beside them; empty for files of others.
        sha256: of the file, in hexadecimal.
        notes: which of several weights were taken.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    sha256: str
    notes: tuple[str, ...] = ()


def read_weight_file(path: Path) -> WeightFile:
    """Reads .safetensors, .pth, .pt, .tar, .ckpt or an archive with one of them inside.

    Raises:
        CheckpointError: missing, empty, truncated, too large, no weights at all, or holding code.
    """
    data = read_bytes(path, max_bytes=MAX_BYTES, error=CheckpointError)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        content, read_storage = _open(data, min(max(_MIN_UNPACKED, _MAX_RATIO * len(data)), MAX_BYTES))
        place, others, found = _choose_state(content)
        buffer_of = functools.cache(lambda key: bytearray(read_storage(key)))  # many tensors may share a storage
        tensors = {
            name: value.read(buffer_of(value.storage.key)) if isinstance(value, StoredTensor) else value
            for name, value in found.items()
        }
    except CheckpointError as error:
        raise CheckpointError(f"{shown(path)}: {error}") from None
    except Exception as error:  # a broken file makes its readers raise errors of nearly every kind
        reason = f"{len(data)} bytes: {type(error).__name__}"
        raise CheckpointError(f"{shown(path)}: broken or truncated ({reason}); {_EXPECTED}") from None
    metadata = content.get(_METADATA_KEY) if isinstance(content, dict) else None
    notes = []
    if others or place not in _USUAL_PLACES:
        passed_over = f", not those in {', '.join(others)}" if others else ""
        notes.append(shown(f"{path.name}: takes the weights in {place}{passed_over}"))
    return WeightFile(tensors, metadata if isinstance(metadata, dict) else {}, sha256, tuple(notes))


def read_training_state(path: Path) -> dict[str, Any]:
    """All that a checkpoint of a training holds, as torch.load gives it; read_weight_file has checked it before.

    Raises:
        CheckpointError: it is broken.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of nearly every kind, here too
        raise CheckpointError(f"{shown(path)}: broken or truncated ({type(error).__name__})") from None
    return content


def write_weight_file(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, Any]) -> None:
    """Writes a .safetensors file with JSON metadata; not atomic, see files.atomic_path.

    All metadata are one entry: the library writes several in any order, and the same weights are to be the same file.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, path, metadata={_METADATA_KEY: json.dumps(metadata)})


def _open(data: bytes, max_unpacked: int) -> Content:
    """What the bytes of a file, or of one in an archive, hold."""
    if not data:
        raise CheckpointError("the file is empty; fetch it again")
    if data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < 100_000_000:  # may begin as pickles do
        return _open_safetensors(data)
    if data[:1] == b"\x80":
        return _open_legacy(data)
    if data.startswith(b"PK\x03\x04") or zipfile.is_zipfile(io.BytesIO(data)):
        return _open_zip(data, max_unpacked)
    if data.startswith(b"\x1f\x8b"):
        return _open_member(gzip.GzipFile(fileobj=io.BytesIO(data)).read, max_unpacked)
    return _open_tar(data, max_unpacked)


def _open_member(read: Callable[[int], bytes], max_unpacked: int) -> Content:
    """What a file in an archive holds; all levels of archives in archives together stay below the bound."""
    data = read(max_unpacked + 1)
    if len(data) > max_unpacked:
        raise CheckpointError(f"refused, because it unpacks to more than {max_unpacked:,} bytes; pack the weights anew")
    return _open(data, max_unpacked - len(data))


def _open_safetensors(data: bytes) -> Content:
    try:
        tensors: dict[str, Any] = dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"broken safetensors file ({shown(str(error))}); fetch it again") from None
    header = parse_json(data[8 : 8 + struct.unpack("<Q", data[:8])[0]], place="header", error=CheckpointError)
    metadata = header.get("__metadata__", {}).get(_METADATA_KEY, "{}")
    metadata = parse_json(metadata.encode(), place="metadata", error=CheckpointError)
    return {**tensors, _METADATA_KEY: metadata}, lambda _: b""


def _open_zip(data: bytes, max_unpacked: int) -> Content:
    """PyTorch's own zip files, or the single weights file in another."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    if sum(sizes.values()) > max_unpacked:
        raise CheckpointError(f"refused, because {len(data):,} bytes unpack to {sum(sizes.values()):,}")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in archive.infolist()):
        raise CheckpointError("is a zip archive packed in a rare way; pack it again, by deflating or not at all")
    for suffix, (kind, weights) in _EXPORTED.items():
        if any(f"/{name}".endswith(f"/{suffix}") for name in sizes):
            advice = f"torch.save({weights}, 'weights.pth') in Python, if you trust it, makes weights of it"
            raise CheckpointError(f"is {kind}, not weights; {advice}")
    roots = [name[: -len("data.pkl")] for name in sizes if f"/{name}".endswith("/data.pkl")]
    if not roots:
        return _open_member(archive.open(_pick(sizes, "zip")).read, max_unpacked)

    def _read(name: str) -> bytes:  # not archive.read, which unpacks more than the size that stands in the archive
        with archive.open(roots[0] + name) as file:
            return file.read(sizes[roots[0] + name])

    if f"{roots[0]}byteorder" in sizes and _read("byteorder") != b"little":
        raise CheckpointError("was saved on a big-endian machine; save it again on another")
    return read_pickle(io.BytesIO(_read("data.pkl")))[0], lambda key: _read(f"data/{key}")


def _open_tar(data: bytes, max_unpacked: int) -> Content:
    try:
        archive = tarfile.TarFile(fileobj=io.BytesIO(data))
    except tarfile.TarError:
        kinds = (f"is {kind}" for start, kind in _OTHER_KINDS.items() if re.match(start, data))
        raise CheckpointError(next(kinds, f"not a weights file, or a broken one; {_EXPECTED}")) from None
    with archive:
        members = {member.name: member for member in archive if member.isfile()}
        file = archive.extractfile(members[_pick(members, "tar")])
        assert file is not None  # it is one
        return _open_member(file.read, max_unpacked)


def _pick(names: Iterable[str], kind: str) -> str:
    """The weights file among the members of an archive."""
    visible = [
        name for name in names if not any(part[0] == "." or part == "__MACOSX" for part in PurePosixPath(name).parts)
    ]
    weights = [name for name in visible if name.lower().endswith(_WEIGHT_SUFFIXES)] or visible
    if len(weights) != 1:
        found = shown(", ".join((weights or list(names))[:5])) or "nothing"
        raise CheckpointError(f"is a {kind} archive; expected one weights file in it, found {found}")
    return weights[0]


def _open_legacy(data: bytes) -> Content:
    """PyTorch's format before 1.6: five pickles, then the values of each storage behind their count."""
    stream = io.BytesIO(data)
    if read_pickle(stream)[0] != _LEGACY_MAGIC:
        raise CheckpointError(f"a pickle that torch.save did not write; {_EXPECTED}")
    for _ in ("version", "machine"):
        read_pickle(stream)
    content, storages = read_pickle(stream)
    keys, _ = read_pickle(stream)
    values: dict[str, bytes] = {}
    for key in keys:
        (count,) = struct.unpack("<Q", stream.read(8))
        values[key] = stream.read(storages[key].dtype.itemsize * count)
    return content, values.__getitem__


def _choose_state(content: object) -> tuple[str, list[str], dict[str, StoredTensor | Tensor]]:
    """The state dict to take: where it lies, where others lie that would do as well, and the dict itself."""
    found: dict[str, dict[str, StoredTensor | Tensor]] = {}
    seen: set[int] = set()
    waiting: deque[tuple[str, Any]] = deque([("", content)])
    while waiting and len(seen) < _MAX_SEARCHED:
        place, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        items = value if isinstance(value, dict) else {str(number): item for number, item in enumerate(value[:8])}
        tensors = {key: item for key, item in items.items() if isinstance(item, (StoredTensor, Tensor))}
        if tensors:
            found[place] = tensors
        inner = [(key, item) for key, item in items.items() if isinstance(item, (dict, list)) and len(place) < 200]
        waiting += [(f"{place}.{key[:60]}".lstrip("."), item) for key, item in inner if key != _METADATA_KEY]
    if not found:
        keys = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(f"no weights in it: found {shown(keys) or 'nothing'}; expected a state dict of tensors")
    networks = [place for place, state in found.items() if has_network(state)]
    networks = networks or [max(found, key=lambda place: len(found[place]))]
    chosen = next(filter(is_averaged, networks), networks[0])
    return chosen, [place for place in networks if place != chosen], found[chosen]
