"""Writing files so that a reader never sees half of one, and choosing a folder for a run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def atomic_folder(path: Path, *, replaceable: Collection[str]) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path` that becomes `path` when the block ends without an error.

    Args:
        path: the folder to make; parent folders are made.
        replaceable: endings of files; a folder that is there already is replaced if it holds no others.

    Raises:
        RetinaFaceError: something else is there, which is left as it was.
    """
    foreign = path if path.is_file() else next(_foreign_files(path, replaceable), None)
    if foreign is not None:
        endings = " or ".join(sorted(replaceable))
        raise RetinaFaceError(f"{path}: not replaced, since it holds {foreign}, not only {endings}; name a new folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
    old = temporary.with_name(f"{temporary.name}.old")
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _foreign_files(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """Files in a folder and below with other endings."""
    return (path for path in folder.rglob("*") if not path.is_dir() and path.suffix not in suffixes)


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
