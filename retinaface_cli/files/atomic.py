"""Writing files so that a reader never sees half of one, and choosing a folder for a run."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from retinaface_cli.errors import RetinaFaceError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` (same suffix) that becomes `path` when the block ends without an error.

    Parent folders are made. On an error the temporary file is removed and what stood at `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """Writes UTF-8 text with Unix line ends, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def next_run_folder(parent: Path) -> Path:
    """Makes and returns the first of `parent/1`, `parent/2`, ... that does not exist yet."""
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(child.name) for child in parent.iterdir() if child.name.isdecimal()]
    for number in range(max(taken, default=0) + 1, max(taken, default=0) + 10_000):
        try:
            folder = parent / str(number)
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise RetinaFaceError(f"{parent}: no free run folder; name one with --output")


def _umask() -> int:
    """The process's file mode mask (there is no way to read it without setting it)."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def give_name(temporary: Path, path: Path, *, replace: bool) -> None:
    """Gives a whole file its name.

    Args:
        temporary: the file, on the same disk.
        path: its name.
        replace: whether a file of that name may be replaced; else one that appeared meanwhile is an error.

    Raises:
        FileExistsError: there is a file already.
    """
    if not replace:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a disk without links
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "a file of this name has appeared", str(path)) from None
        else:
            temporary.unlink()
            return
    temporary.replace(path)


def sync_file(path: Path) -> None:
    """Sees to it that a file's content is on the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_bytes(value: Any, *, indent: bool = False) -> bytes:
    """A JSON value with a line end; numpy arrays are lists, NaN is null, bytes of a name that are not UTF-8 stay."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return orjson.dumps(value, option=options)
    except TypeError:  # lone surrogates, or numbers of more than 64 bits
        return json.dumps(value, indent=2 if indent else None).encode() + b"\n"
