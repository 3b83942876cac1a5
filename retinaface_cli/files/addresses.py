"""Files at an address (`s3://`, `gs://`, `hf://`, `https://`, ...), by fsspec and the package for each scheme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NewType, TypeVar

from retinaface_cli.errors import FileReadError, RetinaFaceError, reason_of, shown
from retinaface_cli.files.reading import ReadStream, open_regular

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://")
_BLOCK = 1 << 20
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created", "md5Hash")
"""Under which names file systems say what changes with a file's content."""

Address = NewType("Address", str)
"""A text for which is_address holds."""

Value = TypeVar("Value")


def is_address(text: str) -> bool:
    """Whether a text is an address and no path."""
    return _SCHEME.match(text) is not None


def path_of(address: str) -> str:
    """An address without its scheme and query: `bucket/a/x.jpg`."""
    return _SCHEME.sub("", address).split("?")[0]


@contextmanager
def open_anywhere(location: str, *, error: type[RetinaFaceError] = FileReadError) -> Iterator[BinaryIO]:
    """Opens a regular file by its path, or a file by its address, for reading bytes from front to back.

    Raises:
        error: it cannot be opened or read, or a package is missing.
    """
    if not is_address(location):
        with open_regular(Path(location), error=error) as file:
            yield file
        return
    fs, path = _find_file_system(location, error)
    remote = _call(lambda: fs.open(path, "rb"), location, error)
    try:
        yield io.BufferedReader(ReadStream(lambda count: _call(lambda: remote.read(count), location, error)), _BLOCK)
    finally:
        remote.close()


def read_address(address: str, *, max_bytes: int, error: type[RetinaFaceError] = FileReadError) -> bytes:
    """The content of a file.

    Raises:
        error: it cannot be read, or holds more.
    """
    with open_anywhere(address, error=error) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise error(f"{shown(address)}: holds more than {max_bytes:,} bytes, the most that is read of such a file")
    return data


def stamp_of_address(address: str) -> str:
    """What tells a file from another of the same address: size and version, as far as the server says them."""
    try:
        fs, path = _find_file_system(address, FileReadError)
        status = _call(lambda: fs.info(path), address, FileReadError)
    except FileReadError:
        return address
    return " ".join([address, str(status.get("size")), *(str(status[key]) for key in _VERSION_KEYS if key in status)])


def find_addresses(pattern: str, *, suffixes: Collection[str], error: type[RetinaFaceError]) -> list[Address]:
    """The files that a pattern with `*`, or a folder's address, stands for, sorted; of a folder those of the suffixes.

    Raises:
        error: the server cannot say, or a package is missing.
    """
    fs, path = _find_file_system(pattern, error)
    if any(character in path for character in "*["):
        found = _call(lambda: fs.glob(path), pattern, error)
    else:
        found = _call(lambda: fs.find(path), pattern, error)
        found = [name for name in found if name.lower().endswith(tuple(suffixes))]
    return sorted(Address(fs.unstrip_protocol(name)) for name in found)


def _find_file_system(address: str, error: type[RetinaFaceError]) -> tuple[Any, str]:
    import fsspec
    from fsspec.registry import known_implementations

    scheme = _SCHEME.match(address)
    assert scheme is not None
    if scheme[1] in ("file", "local"):
        raise error(f"{shown(address)}: name a file of this machine by its path")
    try:
        fs, path = fsspec.core.url_to_fs(address)
    except ImportError:
        known = known_implementations[scheme[1]]
        package = known["class"].split(".")[0]
        needed = known["err"] if package == "fsspec" else f"needs the package {package}: pip install {package}"
        raise error(f"{shown(address)}: {needed}") from None
    except Exception as problem:
        raise error(f"{shown(address)}: cannot be read ({reason_of(problem)})") from None
    return fs, path


def _call(function: Callable[[], Value], address: str, error: type[RetinaFaceError]) -> Value:
    """What a function of a file system returns; whatever it raises (each has errors of its own) becomes `error`."""
    try:
        return function()
    except FileNotFoundError:
        raise error(f"{shown(address)}: no such file") from None
    except Exception as problem:
        raise error(f"{shown(address)}: cannot be read ({reason_of(problem)})") from None
