"""Single files and folders that a user names as a command's output: checked, written whole, and then put in place."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from retinaface_cli.errors import OutputError, shown
from retinaface_cli.files.atomic import (
    give_name,
    lock_handle,
    locked_temporary,
    mode_of,
    remove_leftovers,
    sync_file,
    writing,
)
from retinaface_cli.files.manifest import FOLDER, Manifest, fingerprint, header, real_path, remove_listed
from retinaface_cli.files.names import FORMER_SUFFIX, temporary_path, temporary_prefix


def check_outputs(paths: Sequence[Path], *, force: bool = False, protect: Iterable[Path] = ()) -> None:
    """Raises OutputError unless all these files can be written: call it before the work begins.

    Args:
        paths: all files that one command writes; no two of them may be the same.
        force: whether regular files that are there may be replaced.
        protect: files that the command reads, and folders, for all that is in them.
    """
    sources = [Path(real_path(path)) for path in protect]
    places: set[str] = set()
    for path in paths:
        mode = mode_of(path)
        if mode is not None and not stat.S_ISREG(mode):
            kind = {stat.S_IFLNK: "link", stat.S_IFDIR: "folder"}.get(stat.S_IFMT(mode), "device")
            raise OutputError(f"{shown(path)}: is a {kind}; name a file to write")
        if (place := real_path(path)) in places:
            raise OutputError(f"{shown(path)}: is named for two outputs; name two files")
        places.add(place)
        if mode is not None:
            _check_no_source(path, sources)
            if not force:
                raise OutputError(f"{shown(path)}: exists already; --force to replace it")


@contextmanager
def write_file(path: Path, *, force: bool = False, protect: Iterable[Path] = ()) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with the same ending, that becomes `path` when the block ends.

    Nothing changes on an error. Parent folders are made. What a killed process left behind for the same path goes.

    Raises:
        OutputError: see check_outputs; or it cannot be written.
    """
    check_outputs([path], force=force, protect=protect)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean(path)
        with locked_temporary(path) as temporary:
            yield temporary
            sync_file(temporary)
            give_name(temporary, path, replace=force and path.is_file())


@contextmanager
def write_folder(path: Path, *, force: bool = False, protect: Iterable[Path] = ()) -> Iterator[Path]:
    """Gives an empty temporary folder beside `path` that becomes `path` when the block ends, with a manifest in it.

    Args:
        path: the folder; with `force`, one that is there is replaced if its manifest lists all that it holds.
        force: see path; an empty folder needs none.
        protect: files and folders that the command reads.

    Raises:
        OutputError: something else is there, which is left as it was; or it cannot be written.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100  links are not resolved
    check_folder(path, force=force, protect=protect)
    temporary = temporary_path(path, "")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clean(path)
        check_folder(path, force=force)  # _clean may have brought it back
        temporary.mkdir()
        lock = os.open(temporary, os.O_RDONLY)
        try:
            lock_handle(lock)
            yield temporary
            _add_manifest(temporary)
            before = temporary.with_name(temporary.name + FORMER_SUFFIX)
            if path.is_dir():
                path.rename(before)
            temporary.rename(path)
            _remove_former(before)
        finally:
            os.close(lock)
            shutil.rmtree(temporary, ignore_errors=True)


def _check_no_source(path: Path, sources: Iterable[Path]) -> None:
    real = Path(real_path(path))
    for source in sources:
        is_same = real == source or (source.exists() and os.path.samestat(real.stat(), source.stat()))
        if is_same or real.is_relative_to(source):
            raise OutputError(f"{shown(path)}: is a source of this command, and is not written over")


def check_folder(path: Path, *, force: bool = False, protect: Iterable[Path] = ()) -> None:
    """Raises OutputError unless a folder can be written here by write_folder, with the same arguments."""
    mode = mode_of(path)
    if mode is None:
        return
    if not stat.S_ISDIR(mode):
        raise OutputError(f"{shown(path)}: is no folder; name a folder to write")
    manifest = Manifest.read(path)
    foreign = next((name for name in _names(path) if not manifest.proves(name)), None)
    real = Path(real_path(path))
    sources = [Path(real_path(source)) for source in protect]
    if any(source.is_relative_to(real) or real.is_relative_to(source) for source in sources):
        raise OutputError(f"{shown(path)}: holds a source of this command, and is not replaced")
    if foreign is not None:
        raise OutputError(f"{shown(path)}: not replaced, since this tool did not write {shown(foreign)} as it is now")
    if not force and (path / FOLDER).exists():
        raise OutputError(f"{shown(path)}: exists already; --force to replace it")


def _names(folder: Path) -> Iterator[str]:
    """The files and links in a folder and below it, without its manifest."""
    for place, folders, files in os.walk(folder):
        inner = Path(place).relative_to(folder)
        if place == str(folder) and FOLDER in folders:
            folders.remove(FOLDER)
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from ((inner / name).as_posix() for name in (*files, *links))


def _add_manifest(folder: Path) -> None:
    """Writes the manifest of a finished folder, and sees to it that all is on the disk."""
    names = sorted(_names(folder))
    manifest = Manifest(folder)
    lines = [manifest.add(name, *fingerprint(folder / name)) for name in names]
    (folder / FOLDER).mkdir()
    path = folder / FOLDER / "manifest"
    path.write_bytes(b"".join([header({}), *lines]))
    if sys.platform == "win32":
        sync_file(path)
    else:
        os.sync()  # once for thousands of files


def _remove_former(folder: Path) -> None:
    """Deletes what a manifest lists of a replaced folder; whatever came in meanwhile stays, under the new name."""
    if not folder.exists():
        return
    remove_listed(Manifest.read(folder))
    if not any(_names(folder)):
        for journal in (folder / FOLDER).glob("manifest*"):
            journal.unlink()
        for place, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):  # not empty
                Path(place).rmdir()


def _clean(path: Path) -> None:
    """Removes the leftovers of killed processes for a path; a folder that was only half replaced comes back."""
    for former in path.parent.glob(f"{temporary_prefix(path)}*{FORMER_SUFFIX}"):
        if path.exists():
            _remove_former(former)
        else:
            former.rename(path)
    remove_leftovers(path.parent, prefix=temporary_prefix(path))
