"""Opening of weights files in every container that is about, without ever running code that is in them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError

_CONTAINER_KEYS = ("state_dict", "model_state_dict", "model", "net", "weights")
_METADATA_KEY = "retinaface"


class WeightFile(NamedTuple):
    """What a weights file holds.

    Attributes:
        tensors: names as they stand in the file.
        metadata: what our own tool stored beside them; empty for files of others.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def read_weight_file(path: Path) -> WeightFile:
    """Reads .safetensors, .pth, .pt, .tar, .ckpt or a .zip with one of them inside.

    Raises:
        CheckpointError: missing, empty, truncated, no weights at all, or holding code.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; expected a weights file")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    if not data:
        raise CheckpointError(f"{path}: the file is empty; fetch it again")
    if _looks_like_safetensors(data):
        return _read_safetensors(data, path)
    return _read_torch(_unzip(data, path), path)


def write_weight_file(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, Any]) -> None:
    """Writes a .safetensors file with JSON metadata; not atomic, see files.atomic_path."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    safetensors.torch.save_file(contiguous, path, metadata={_METADATA_KEY: json.dumps(metadata), "format": "pt"})


def _looks_like_safetensors(data: bytes) -> bool:
    """The format starts with the length of a JSON header (8 bytes, little endian) and the header's brace."""
    return len(data) > 9 and data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < 100_000_000


def _read_safetensors(data: bytes, path: Path) -> WeightFile:
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        metadata = json.loads(header.get("__metadata__", {}).get(_METADATA_KEY, "{}"))
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: broken safetensors file ({error}); fetch it again") from None
    return WeightFile(tensors, metadata)


def _unzip(data: bytes, path: Path) -> bytes:
    """The single member of an ordinary zip; torch's own zip files and everything else come back as they are."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and name[-1] != "/"]
            if any(name.endswith("data.pkl") for name in members):
                return data
            if len(members) != 1:
                listed = ", ".join(members[:5]) or "nothing"
                raise CheckpointError(f"{path}: expected a zip with one weights file in it, found {listed}")
            return archive.read(members[0])
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:
        raise CheckpointError(f"{path}: broken zip file ({error}); fetch it again") from None


def _read_torch(data: bytes, path: Path) -> WeightFile:
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" not in str(error):  # bytes that are no pickle at all
            raise CheckpointError(
                f"{path}: refused, because the file holds Python objects besides weights and opening it could run "
                "code; save the bare state dict (torch.save(model.state_dict(), ...)) with the program that made it"
            ) from None
        raise CheckpointError(f"{path}: not a weights file, or a broken one; expected {_EXPECTED}") from None
    except Exception as error:
        # on broken files torch.load lets errors of many kinds through (RuntimeError, EOFError, KeyError...)
        raise CheckpointError(
            f"{path}: broken or truncated ({len(data)} bytes: {type(error).__name__}); expected {_EXPECTED}"
        ) from None
    metadata = content.get(_METADATA_KEY, {}) if isinstance(content, Mapping) else {}
    return WeightFile(_find_tensors(content, path), metadata if isinstance(metadata, dict) else {})


_EXPECTED = "weights as .safetensors, .pth, .pt, .tar, .ckpt or a .zip of one of them"


def _find_tensors(content: object, path: Path) -> dict[str, Tensor]:
    """The mapping of names to tensors, looked for inside the usual containers."""
    if isinstance(content, Mapping):
        for key in _CONTAINER_KEYS:
            if isinstance(content.get(key), Mapping):
                return _find_tensors(content[key], path)
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    found = f"keys {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(f"{path}: no weights in it: found {found}; expected a state dict of tensors")
