"""Writing files so that a reader never sees half of one, and choosing a folder for a run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from retinaface_cli.errors import OutputError, RetinaFaceError, reason_of, shown
from retinaface_cli.files.names import FORMER_SUFFIX, TEMPORARY_PREFIX, temporary_path, temporary_prefix


@contextmanager
def writing(path: Path, kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Errors of the system in the block, or of other kinds, become OutputError: the path cannot be written, and why."""
    try:
        yield
    except kinds as error:
        raise OutputError(f"{shown(path)}: cannot be written ({reason_of(error)})") from None


def mode_of(path: Path) -> int | None:
    """The kind of what is at a path, without following links; None where nothing is."""
    with writing(path, (OSError, ValueError)):
        try:
            return path.lstat().st_mode
        except FileNotFoundError:
            return None


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` (same suffix) that becomes `path` when the block ends without an error.

    Parent folders are made. On an error the temporary file is removed and what stood at `path` stays as it was. What a
    killed process left behind for the same path goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, prefix=temporary_prefix(path))
    with locked_temporary(path) as temporary:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)


@contextmanager
def locked_temporary(path: Path) -> Iterator[Path]:
    """An empty temporary file beside `path`, which remove_leftovers leaves alone while the block runs; then it goes."""
    temporary = temporary_path(path, path.suffix)
    lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        lock_handle(lock)
        yield temporary
    finally:
        os.close(lock)
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, *, prefix: str = TEMPORARY_PREFIX) -> None:
    """Removes the temporary files and folders that killed processes left in a folder."""
    for leftover in folder.glob(f"{prefix}*"):
        is_former = leftover.name.endswith(FORMER_SUFFIX)
        if is_former or leftover.is_symlink() or not (leftover.is_file() or leftover.is_dir()):
            continue
        with contextlib.suppress(OSError):  # in use by a living process, or gone
            lock = os.open(leftover, os.O_RDONLY)
            try:
                lock_handle(lock)
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            finally:
                os.close(lock)


def lock_handle(handle: int) -> None:
    """Marks a temporary file or folder as in use for as long as the process lives.

    Raises:
        OSError: another process uses it; or one cannot tell, on Windows, and it stays.
    """
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release_handle(handle: int) -> None:
    """Ends lock_handle, in processes that have inherited the handle, too."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_UN)


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
