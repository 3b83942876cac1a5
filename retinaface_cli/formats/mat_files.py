"""MATLAB 5 files (.mat): the numbers, texts and cell arrays that WIDER FACE's labels are made of.

SciPy reads these files, too, but crashes the whole process on some broken ones.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.files.reading import read_bytes

MatValue = npt.NDArray[Any] | str | list[Any] | None
"""A numeric array, a text, the cells of a cell array (column by column), or None for kinds that are not read."""

_HEADER_BYTES = 128
_MAX_BYTES = 1 << 30
"""Largest size of a variable after unpacking."""

_MAX_DEPTH = 8
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_NUMERIC = range(6, 16)


class _BrokenError(Exception):
    """The file does not follow its format."""


class _Element(NamedTuple):
    """One data element: its type and its bytes."""

    kind: int
    data: memoryview


def read_mat(path: Path, wanted: Collection[str]) -> dict[str, MatValue]:
    """Reads some variables of a MATLAB 5 file; those that the file lacks are absent from the result.

    Raises:
        LabelFormatError: the file cannot be read or is not such a file, or is broken.
    """
    data = read_bytes(path, max_bytes=_MAX_BYTES, unpack=True, error=LabelFormatError)
    if data[:10] == b"MATLAB 7.3" or data[:8] == b"\x89HDF\r\n\x1a\n":
        raise LabelFormatError(f"{path}: expected a MATLAB 5 file, got version 7.3; save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise LabelFormatError(f"{path}: expected a MATLAB 5 file, got {data[:20]!r}")
    result = {}
    try:
        for element in _elements(memoryview(data)[_HEADER_BYTES:], order):
            is_packed = element.kind == _COMPRESSED
            for inner in islice(_elements(_unpack(element.data), order), 1) if is_packed else (element,):
                if inner.kind == _MATRIX:
                    name, value = _read_matrix(inner.data, order, wanted=wanted)
                    result[name] = value
    except (_BrokenError, struct.error, UnicodeDecodeError, zlib.error) as error:
        raise LabelFormatError(f"{path}: a broken MATLAB file: {error}") from None
    return {name: value for name, value in result.items() if name in wanted}


def _unpack(data: memoryview) -> memoryview:
    """The content of a compressed element."""
    unpacker = zlib.decompressobj()
    result = unpacker.decompress(data, _MAX_BYTES)
    if not unpacker.eof:
        raise _BrokenError("a compressed variable is cut off, or too large")
    return memoryview(result)


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """The elements of a run of bytes, one after the other."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: size and type share a word, the data is in the next
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise _BrokenError(f"a small element of {size} bytes")
        else:
            start = at + 8
            end = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise _BrokenError(f"an element of {size} bytes passes the end")
        yield _Element(kind, data[start : start + size])
        at = end


def _read_matrix(
    data: memoryview, order: str, *, wanted: Collection[str] | None = None, depth: int = 0
) -> tuple[str, MatValue]:
    """Name and value of an array; the value is read only if its name is wanted (None: in any case)."""
    if not len(data):
        return "", np.zeros((0, 0))
    parts = _elements(data, order)
    flags, dimensions, name = (next(parts, None) for _ in range(3))
    if flags is None or dimensions is None or name is None or len(flags.data) < 4 or len(dimensions.data) % 4:
        raise _BrokenError("an array without flags, dimensions or name")
    kind = struct.unpack_from(f"{order}I", flags.data)[0] & 0xFF
    shape = struct.unpack(f"{order}{len(dimensions.data) // 4}i", dimensions.data)
    text = bytes(name.data).decode("utf-8")
    if min(shape, default=0) < 0 or depth > _MAX_DEPTH:
        raise _BrokenError(f"an array of shape {shape} at depth {depth}")
    if wanted is not None and text not in wanted:
        return text, None
    if kind == _CELL:
        cells = [_read_matrix(part.data, order, depth=depth + 1)[1] for part in parts if part.kind == _MATRIX]
        if len(cells) != math.prod(shape):
            raise _BrokenError(f"{shown(text)}: {len(cells)} cells in an array of shape {shape}")
        return text, cells
    values = next(parts, _Element(1, memoryview(b"")))
    if kind == _CHAR:
        return text, _read_text(values, order)
    return text, _read_numbers(values, shape, order) if kind in _NUMERIC else None


def _read_text(element: _Element, order: str) -> str:
    """The characters of a text."""
    encoding = _TEXTS.get(element.kind)
    if encoding is None:
        raise _BrokenError(f"a text of type {element.kind}")
    if encoding.startswith("utf-") and encoding != "utf-8":
        encoding += "-le" if order == "<" else "-be"
    return bytes(element.data).decode(encoding)


def _read_numbers(element: _Element, shape: tuple[int, ...], order: str) -> npt.NDArray[Any]:
    """The numbers of an array in their shape; they are stored column by column."""
    kind = _NUMBERS.get(element.kind)
    if kind is None:
        raise _BrokenError(f"numbers of type {element.kind}")
    dtype = np.dtype(order + kind)
    if len(element.data) != math.prod(shape) * dtype.itemsize:
        raise _BrokenError(f"{len(element.data)} bytes in an array of shape {shape}")
    return np.frombuffer(element.data, dtype).reshape(shape, order="F")
