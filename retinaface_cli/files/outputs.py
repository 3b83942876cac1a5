"""The one writer of results: every path below an output folder is made, checked and recorded here."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import json
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from retinaface_cli.errors import OutputError, PlaceTakenError, shown
from retinaface_cli.files.atomic import give_name, json_bytes, mode_of, sync_file, writing
from retinaface_cli.files.manifest import FOLDER, Manifest, differences, fingerprint, header, real_path, remove_listed
from retinaface_cli.files.names import RESERVED, safe_name

_SYNC_INTERVAL = 1.0
"""Seconds after which the manifest is on the disk. A power cut may take its last lines; the files of those count as
written once they are made again, byte for byte the same."""

_ADVICE = "move it, or name another output folder"

Mode = Literal["new", "resume", "overwrite"]


class OutputFolder:
    """The folder in which a run writes its results; a context manager, which closes its manifest.

    A file of the folder is replaced or deleted only if its manifest lists it, it still is as it was written, and it is
    no input of the run. Files get their name when they are whole: they are written to the folder's `.retinaface/tmp`,
    on the same disk, so what a killed run left behind is in one place.

    Attributes:
        root: the folder, as it was named.
        changed: files of the run before that were changed since, and which `overwrite` has left as they are.
    """

    def __init__(self, root: Path, *, rank: int, protect: Iterable[Path]) -> None:
        """Use `open` or `join`."""
        self.root = root
        self.changed: list[str] = []
        self._protected: set[str] = set()
        self._rank = rank
        self._journal = -1
        self._synced = 0.0
        self._check_folder()
        self.protect(protect)
        self._manifest = Manifest.read(root)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        identity: Mapping[str, Any],
        mode: Mode = "new",
        can_resume: bool = True,
        protect: Iterable[Path] = (),
        results: Iterable[str] = (),
    ) -> OutputFolder:
        """Makes the folder ready for a run and records first what the run is.

        Args:
            root: the folder; it is made, with those above it.
            identity: all that decides the results: settings, hash of the weights, inputs. JSON values.
            mode: `new` refuses a folder with results of a run; `resume` goes on with a run of the same identity, or
                begins it in an empty folder; `overwrite` deletes the results of earlier runs first, and nothing else.
            can_resume: whether the command has --resume, which the refusal of `new` then names.
            protect: inputs of the run and other files that are never written over or deleted.
            results: files that are written in any case, such as `run.json`, and folders, `labels/`: nothing is made
                where something else is in their place. A run that goes on may have files that are not listed any more.

        Raises:
            OutputError: the folder is none, holds results of another run, or cannot be written to.
        """
        folder = cls(root, rank=0, protect=protect)
        folder._check_mode(mode, json.loads(header(identity))["identity"], can_resume=can_resume)
        for name in results:
            if name.endswith("/"):
                folder._check_parents(root / name / "_")
            elif mode != "resume":
                folder._check_own(root / name)
        with writing(root, (OSError, ValueError)):
            if mode == "overwrite":
                folder.remove_own()
            temporary = root / FOLDER / "tmp"
            temporary.mkdir(parents=True, exist_ok=True)
            for leftover in temporary.iterdir():
                leftover.unlink()
            if folder._manifest.identity is None:
                for journal in (root / FOLDER).glob("manifest.*"):
                    journal.unlink()
                (temporary / "manifest").write_bytes(header(identity))
                sync_file(temporary / "manifest")
                (temporary / "manifest").replace(root / FOLDER / "manifest")
        return folder._open_journal()

    @classmethod
    def join(cls, root: Path, *, rank: int, protect: Iterable[Path] = ()) -> OutputFolder:
        """The folder for a further process (rank 1, 2, ...) of a run that rank 0 has opened."""
        return cls(root, rank=rank, protect=protect)._open_journal()

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the writing; what is written is complete without it."""
        if self._journal >= 0:
            with contextlib.suppress(OSError):  # the manifest is complete; only a power cut would be too early
                os.fsync(self._journal)
            os.close(self._journal)
            self._journal = -1

    def protect(self, paths: Iterable[Path]) -> None:
        """Adds files that are never written over or deleted."""
        self._protected.update(real_path(path) for path in paths)

    def path(self, folder: str, name: str, *, suffix: str = "", keep_suffix: bool = False) -> Path:
        """The path of a result from a name that nobody has checked; see safe_name."""
        return self.root / folder / safe_name(name, suffix=suffix, keep_suffix=keep_suffix)

    def is_whole(self, path: Path, *, source: str | None = None) -> bool:
        """Whether the file is there as a run of ours wrote it; where given, from this source (see new_file)."""
        return self._manifest.proves(self._relative(path), source=source)

    def is_listed(self, path: Path) -> bool:
        """Whether a run of ours wrote a file of this name and size; its content is not read."""
        return self._manifest.lists(self._relative(path))

    def refresh(self) -> None:
        """Takes in what further processes have written."""
        self._manifest = Manifest.read(self.root)

    @contextmanager
    def new_file(self, path: Path, *, source: str = "") -> Iterator[Path]:
        """Gives a temporary path, with the same ending, that becomes `path` when the block ends without an error.

        Args:
            path: below the root; folders are made.
            source: what the file is made of (see manifest.stamp_of), for is_whole.

        Raises:
            PlaceTakenError: a file of other content that is not the run's own, a link or a device is in the place.
            OutputError: it cannot be written.
        """
        name = self._relative(path)
        self._check_place(path)
        temporary = self.root / FOLDER / "tmp" / f"{secrets.token_hex(8)}{path.suffix}"
        try:
            with writing(path):
                self._check_alive()
                yield temporary
                sync_file(temporary)
                self._check_alive()
                is_there = self._check_place(path)
                if is_there and not self.is_whole(path) and not filecmp.cmp(temporary, path, shallow=False):
                    raise PlaceTakenError(_foreign(path))
                self._record(name, *fingerprint(temporary), source)
                path.parent.mkdir(parents=True, exist_ok=True)
                give_name(temporary, path, replace=is_there)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def write_bytes(self, path: Path, data: bytes, *, source: str = "") -> None:
        """Writes a file; see new_file."""
        with self.new_file(path, source=source) as temporary:
            temporary.write_bytes(data)

    def write_text(self, path: Path, text: str, *, source: str = "") -> None:
        """Writes UTF-8 text; see new_file."""
        self.write_bytes(path, text.encode("utf-8", "backslashreplace"), source=source)

    def write_json(self, path: Path, value: Any, *, indent: bool = False, source: str = "") -> None:
        """Writes a JSON value, arrays too; see new_file."""
        self.write_bytes(path, json_bytes(value, indent=indent), source=source)

    def remove(self, path: Path) -> None:
        """Deletes a file of the run; nothing where there is none.

        Raises:
            PlaceTakenError: the file is not the run's own.
        """
        if self._check_own(path):
            path.unlink()
        self._manifest.forget(self._relative(path))

    def remove_own(self) -> None:
        """Deletes the files that the manifest lists and that are as they were written, then folders left empty.

        Raises:
            OutputError: one of them is an input of this run; then nothing is deleted.
        """
        inputs = [name for name in self._manifest if real_path(self.root / name) in self._protected]
        if inputs:
            raise OutputError(
                f"{shown(self.root / inputs[0])}: is an input of this run and a result of an earlier one; "
                "name another output folder"
            )
        self.changed = remove_listed(self._manifest)
        self._manifest = Manifest(self.root)

    def _check_folder(self) -> None:
        for folder in (self.root, self.root / FOLDER, self.root / FOLDER / "tmp"):
            is_wrong = os.path.lexists(folder) and not folder.is_dir()
            if is_wrong or (folder != self.root and folder.is_symlink()):
                raise OutputError(f"{shown(folder)}: is no folder; name another output folder")

    def _check_mode(self, mode: Mode, identity: Any, *, can_resume: bool) -> None:
        """Raises OutputError unless a run of this identity can begin or go on."""
        before = self._manifest.identity
        place = shown(self.root)
        if mode == "new" and (before is not None or len(self._manifest)):
            resume = "--resume to go on, " if can_resume else ""
            raise OutputError(f"{place}: holds results of a run; {resume}--overwrite to replace them")
        if mode != "resume":
            return
        if before is None:
            if self.root.is_dir() and any(child.name != FOLDER for child in self.root.iterdir()):
                raise OutputError(f"{place}: holds no run that can go on; leave out --resume, or name another folder")
        elif before != identity:
            raise OutputError(f"{place}: cannot go on with another run: {'; '.join(differences(before, identity))}")

    def _open_journal(self) -> OutputFolder:
        path = self.root / FOLDER / (f"manifest.{self._rank}" if self._rank else "manifest")
        with writing(path):
            self._journal = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o666)
        return self

    def _record(self, name: str, size: int, checksum: int, source: str) -> None:
        """Adds a line to the manifest before the file gets its name."""
        line = self._manifest.add(name, size, checksum, source=source)
        if os.write(self._journal, line) != len(line):
            raise OSError(errno.ENOSPC, "No space left on device")
        if time.monotonic() - self._synced > _SYNC_INTERVAL:
            os.fsync(self._journal)
            self._synced = time.monotonic()

    def _relative(self, path: Path) -> str:
        """The path below the root, with forward slashes.

        Raises:
            OutputError: it is not below the root, or is a file of the manifest.
        """
        name = os.path.relpath(path, self.root).replace(os.sep, "/")
        if name in (".", "..") or name.startswith(("../", "/")) or name.lower().startswith(RESERVED):
            raise OutputError(f"{shown(path)}: is not in the output folder {shown(self.root)}")
        return name

    def _check_alive(self) -> None:
        """Raises OutputError if the folder was deleted, or its manifest is another file by now."""
        try:
            (self.root / FOLDER / "tmp").stat()
            is_there = os.fstat(self._journal).st_nlink > 0
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OutputError(f"{shown(self.root)}: the output folder was deleted during the run")

    def _check_own(self, path: Path) -> bool:
        """Whether a file of the run is at the path; raises PlaceTakenError where something else is."""
        if not self._check_place(path):
            return False
        if not self.is_whole(path):
            raise PlaceTakenError(_foreign(path))
        return True

    def _check_place(self, path: Path) -> bool:
        """Whether a regular file that is no input is at the path.

        Raises:
            PlaceTakenError: something else is, or a folder above it is none.
        """
        self._check_parents(path)
        mode = mode_of(path)
        if mode is None:
            return False
        if not stat.S_ISREG(mode):
            raise PlaceTakenError(f"{shown(path)}: is no regular file, and is left as it is; {_ADVICE}")
        if real_path(path) in self._protected:
            raise PlaceTakenError(f"{shown(path)}: is an input of this run, and is not written over; {_ADVICE}")
        return True

    def _check_parents(self, path: Path) -> None:
        """Raises PlaceTakenError unless the folders above a path, below the root, are folders or not there yet."""
        folder = self.root
        for name in self._relative(path).split("/")[:-1]:
            folder /= name
            mode = mode_of(folder)
            if mode is None:
                return
            if stat.S_ISLNK(mode):
                raise PlaceTakenError(f"{shown(folder)}: is a link, and leads out of the output folder; {_ADVICE}")
            if not stat.S_ISDIR(mode):
                raise PlaceTakenError(f"{shown(folder)}: is no folder, and is left as it is; {_ADVICE}")


def _foreign(path: Path) -> str:
    return f"{shown(path)}: was not written by this tool or changed since, and is left as it is; {_ADVICE}"
