"""Reading of the pickles of torch.save as plain values.

torch.load(weights_only=True) runs no code either, but takes hours and gigabytes for some files of 500 bytes, since it
follows the hashes of nested tuples and the sizes that a file claims. Nothing is called or set aside here.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

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

_MARK = object()


class Global(NamedTuple):
    """A class or function that a pickle names, or what calling it would give; neither is done."""

    name: str


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
    machine = _Machine()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number > _MAX_INSTRUCTIONS:
            raise CheckpointError("holds too much besides weights; save the bare state dict")
        if opcode.name in _VALUES:
            machine.stack.append(_VALUES[opcode.name](machine, argument))
        elif opcode.name in _EFFECTS:
            _EFFECTS[opcode.name](machine, argument)
        elif opcode.name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"instruction {opcode.name}")
    return machine.stack[-1], machine.storages


class _Machine:
    """The stack machine that a pickle is a program for."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def take(self, count: int | None = None) -> list[Any]:
        """Takes the last values from the stack; None: those above the last mark, and the mark."""
        start = len(self.stack) - (count or 1)
        while count is None and self.stack[start] is not _MARK:
            start -= 1
        if start < 0:
            raise ValueError("nothing is left to take")
        items = self.stack[start:] if count else self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def remember(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        self.stack[-1] += items

    def fill(self, items: list[Any]) -> None:
        """Puts keys and values, which take turns, into the dict on top of the stack where the key is text."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                self.stack[-1][key] = value
            elif isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
                raise CheckpointError("refused, because it holds tuples of tuples as keys; save the bare state dict")

    def storage(self, reference: tuple[Any, ...]) -> Storage:
        """What ("storage", class, key, device, count, ...) stands for."""
        _, kind, key, _, num_values = reference[:5]
        dtype = _DTYPES.get(kind.name.removeprefix("torch.").removesuffix("Storage"), torch.uint8)
        storage = Storage(f"{key:s}", dtype, int(num_values))
        return self.storages.setdefault(storage.key, storage)


def _named(module: str, name: str) -> Global:
    found = Global(f"{module:s}.{name:s}")
    if not _HARMLESS.fullmatch(found.name):
        raise CheckpointError(
            f"refused, because the file holds Python objects besides weights ({shown(found.name)}) and opening it "
            "could run code; save the bare state dict (torch.save(model.state_dict(), ...)) with the program that "
            "made it"
        )
    return found


def _made(function: Global, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of a call."""
    if function.name.startswith("collections."):
        pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
        mapping = dict(pair for pair in pairs if isinstance(pair[0], str))
        del pairs[:]  # so that a file cannot make a thousand dicts of one list
        return mapping
    if function.name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
        return StoredTensor(*arguments[:4])
    if function.name.startswith("torch._utils._rebuild_parameter"):
        return arguments[0]
    return function


def _is_constant(opcode: pickletools.OpcodeInfo) -> bool:
    """Whether an instruction puts its argument onto the stack: a number or a text."""
    return opcode.arg is not None and bool(opcode.stack_after) and opcode.stack_after[0] is not pickletools.anyobject


_Instruction = Callable[[_Machine, Any], Any]

_VALUES: dict[str, _Instruction] = {
    **{opcode.name: lambda _, argument: argument for opcode in pickletools.opcodes if _is_constant(opcode)},
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, number: machine.memo[number]),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: _made(*machine.take(2))),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_SET"), lambda _machine, _: []),
    "EMPTY_DICT": lambda _machine, _: {},
    "EMPTY_TUPLE": lambda _machine, _: (),
    "NONE": lambda _machine, _: None,
    "NEWTRUE": lambda _machine, _: True,
    "NEWFALSE": lambda _machine, _: False,
    "MARK": lambda _machine, _: _MARK,
    "TUPLE": lambda machine, _: tuple(machine.take()),
    "TUPLE1": lambda machine, _: tuple(machine.take(1)),
    "TUPLE2": lambda machine, _: tuple(machine.take(2)),
    "TUPLE3": lambda machine, _: tuple(machine.take(3)),
    "GLOBAL": lambda _, names: _named(*names.split(" ")),
    "STACK_GLOBAL": lambda machine, _: _named(*machine.take(2)),
    "BINPERSID": lambda machine, _: machine.storage(*machine.take(1)),
}
"""Instructions that put a value onto the stack."""

_EFFECTS: dict[str, _Instruction] = {
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.remember),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), lambda machine, _: machine.extend(machine.take())),
    **dict.fromkeys(("POP", "BUILD"), lambda machine, _: machine.take(1)),  # BUILD: attributes of an object
    "POP_MARK": lambda machine, _: machine.take(),
    "MEMOIZE": lambda machine, _: machine.remember(len(machine.memo)),
    "APPEND": lambda machine, _: machine.extend(machine.take(1)),
    "SETITEM": lambda machine, _: machine.fill(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.fill(machine.take()),
}
"""Instructions that change the stack, the memo, or a value on the stack."""
