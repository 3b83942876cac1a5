"""Reading of the pickles of torch.save as plain values.

torch.load(weights_only=True) runs no code either, but takes hours and gigabytes for some files of 500 bytes, since it
follows the hashes of nested tuples and the sizes that a file claims. Nothing is called or set aside here.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError, shown

_MAX_INSTRUCTIONS = 3_000_000
"""Of one pickle; the training state of a ResNet-50 takes about 60,000."""

_HARMLESS = re.compile(
    r"torch\.(q?u?int\d+|b?float\d+\w*|bool|complex\d+|Size|Tensor|device|\w+Storage|storage\.UntypedStorage)"
    r"|torch\._(utils|tensor)\._rebuild_\w+|torch\.nn\.parameter\.Parameter|collections\.\w+"
    r"|numpy\.(dtype|ndarray|\w+\d+|bool_?)|numpy\._?core\.multiarray\.\w+|numpy\.dtypes\.\w+|_codecs\.encode"
    r"|(__builtin__|builtins)\.(bool|int|float|complex|str|bytearray|list|dict|set|frozenset)|argparse\.Namespace"
)
"""Names that hold values and no code. A file with any other is refused: other programs would run what it names."""

_DTYPES = {"Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64} | {
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128},
}
"""The dtype of torch.<key>Storage; other storages hold bytes of formats that no tensor is read in."""

_REFUSED = frozenset(("DICT", "FROZENSET", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"))
"""Instructions that torch.save never writes, and that hash what the file holds or make objects in ways of their own."""


class Storage(NamedTuple):
    """Numbers that lie beside the pickle, under `key`."""

    key: str
    dtype: torch.dtype
    num_values: int


class StoredTensor(NamedTuple):
    """A tensor whose numbers have not been read yet; offset and strides count values of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, buffer: bytearray) -> Tensor:
        """The tensor, a view of its storage.

        Raises:
            ValueError: it is larger than the storage.
        """
        counts = (self.offset, *self.shape[:9], *self.strides[:9])
        if len(self.shape) > 8 or not all(type(count) is int and 0 <= count < 1 << 40 for count in counts):
            raise ValueError("a shape that is none")
        if math.prod(self.shape) > self.storage.num_values:
            raise ValueError("a tensor that is larger than its storage")
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        values = torch.frombuffer(buffer, dtype=self.storage.dtype, count=self.storage.num_values)
        return values.as_strided(self.shape, self.strides, self.offset)  # which checks that it ends inside


def read_pickle(stream: io.BytesIO) -> tuple[Any, dict[str, Storage]]:
    """The value of one pickle, and its storages by their keys; the stream is left behind it.

    Dicts of every kind come as dict with those of their keys that are text, sets as list, tensors as StoredTensor;
    of other objects only their names are left.

    Raises:
        CheckpointError: it names code, or is too long.
        Exception: of any kind, where the pickle is broken.
    """
    start = stream.tell()
    for number, (opcode, _, _) in enumerate(pickletools.genops(stream)):  # which holds sizes to what the file has
        if number > _MAX_INSTRUCTIONS:
            raise CheckpointError("holds too much besides weights; save the bare state dict")
        if opcode.name in _REFUSED:
            raise ValueError(f"instruction {opcode.name}")
    stream.seek(start)
    reader = _Reader(stream, encoding="latin1")
    return reader.load(), reader.storages


class _Global(NamedTuple):
    """A class or function that a pickle names, or what calling it would give; neither is done."""

    name: str

    def __call__(self, *arguments: Any) -> Any:
        """What stands for the result of a call."""
        if self.name.startswith("collections."):
            pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
            mapping = _Dict()
            for key, value in pairs:
                mapping[key] = value
            del pairs[:]  # so that a file cannot make a thousand dicts of one list
            return mapping
        if self.name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return StoredTensor(*arguments[:4])
        if self.name.startswith("torch._utils._rebuild_parameter"):
            return arguments[0]
        return self


class _Dict(dict[str, Any]):
    """A dict that takes those keys that are text, and hashes no others."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, str):
            super().__setitem__(key, value)
        elif isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
            raise CheckpointError("refused, because it holds tuples of tuples as keys; save the bare state dict")


class _Reader(pickle._Unpickler):
    """Python's own reader in Python, whose memo is a dict, with stand-ins for all that a pickle could call."""

    def __init__(self, stream: io.BytesIO, *, encoding: str) -> None:
        super().__init__(stream, encoding=encoding)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a class or function; see pickle.Unpickler."""
        found = _Global(f"{module:s}.{name:s}")
        if not _HARMLESS.fullmatch(found.name):
            raise CheckpointError(
                f"refused, because the file holds Python objects besides weights ({shown(found.name)}) and opening it "
                "could run code; save the bare state dict (torch.save(model.state_dict(), ...)) with the program that "
                "made it"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """What ("storage", class, key, device, count, ...) stands for; see pickle.Unpickler."""
        _, kind, key, _, num_values = pid[:5]
        dtype = _DTYPES.get(kind.name.removeprefix("torch.").removesuffix("Storage"), torch.uint8)
        storage = Storage(f"{key:s}", dtype, int(num_values))
        return self.storages.setdefault(storage.key, storage)

    dispatch: ClassVar[Any] = {
        **pickle._Unpickler.dispatch,
        pickle.EMPTY_DICT[0]: lambda self: self.append(_Dict()),
        pickle.EMPTY_SET[0]: lambda self: self.append([]),
        pickle.ADDITEMS[0]: pickle._Unpickler.dispatch[pickle.APPENDS[0]],
        pickle.NEWOBJ[0]: pickle._Unpickler.dispatch[pickle.REDUCE[0]],
        pickle.BUILD[0]: lambda self: self.stack.pop(),  # the attributes of an object
    }
