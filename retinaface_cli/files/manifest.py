"""The record of the files that runs wrote in a folder: what may be replaced or deleted, and what is proven to be whole.

It lies in the folder's `.retinaface`: `manifest`, and `manifest.1`, ... of further processes. Its first line holds the
identity of the run, each further one the fingerprint of a file; a line is added before the file gets its name, so a
process that is killed at any moment leaves no file that is not listed. A file that was changed since is not the run's
own any more.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from retinaface_cli.errors import shown
from retinaface_cli.files.reading import open_regular

FOLDER = ".retinaface"
_RECORD = struct.Struct("<qII")
_BLOCK = 1 << 20


def has_manifest(folder: str | Path) -> bool:
    """Whether a run of ours has written in the folder."""
    return os.path.isfile(os.path.join(folder, FOLDER, "manifest"))  # noqa: PTH113, PTH118


class Manifest:
    """The files of a folder that runs of ours wrote; paths are relative to it, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.identity: Any = None
        self._records: dict[str, bytes] = {}

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """The manifest of a folder with the lines of all processes; an empty one where there is none.

        Lines that are not whole are passed over.

        Raises:
            FileReadError: a manifest cannot be read.
        """
        manifest = cls(root)
        folder = root / FOLDER
        journals = sorted(folder.glob("manifest*")) if folder.is_dir() else []  # glob of Python 3.13 refuses NUL
        for journal in journals:
            with open_regular(journal) as file:
                for line in file:
                    manifest._take(line)
        return manifest

    def _take(self, line: bytes) -> None:
        """Adds what a line says; nothing where it is torn."""
        if line.startswith(b'{"retinaface"') and self.identity is None:
            try:
                self.identity = json.loads(line)["identity"]
            except (ValueError, KeyError, RecursionError):
                return
        fields = line.split(b" ", 3)
        if len(fields) == 4:
            try:
                record = _RECORD.pack(int(fields[0]), int(fields[1], 16), int(fields[2], 16))
                name = json.loads(fields[3])
            except (ValueError, struct.error, RecursionError):
                return
            if isinstance(name, str) and name and not name.startswith("/") and ".." not in name.split("/"):
                self._records[name] = self._records.get(name, b"") + record

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def lists(self, name: str) -> bool:
        """Whether a file of this name and size is listed; its content is not read."""
        try:
            size = (self.root / name).lstat().st_size if name in self._records else -1
        except (OSError, ValueError):
            return False
        return any(size == written for written, _, _ in _RECORD.iter_unpack(self._records.get(name, b"")))

    def proves(self, name: str, *, source: str | None = None) -> bool:
        """Whether the file is there, whole, and as a run wrote it; where given, from this source (see add)."""
        records = self._records.get(name)
        if records is None:
            return False
        written = set(_RECORD.iter_unpack(records))
        try:
            size, checksum = fingerprint(self.root / name) if self.lists(name) else (-1, 0)
        except (OSError, ValueError):
            return False
        sources = {stamp for *file, stamp in written if file == [size, checksum]}
        return bool(sources) if source is None else _checksum(source) in sources

    def add(self, name: str, size: int, checksum: int, *, source: str = "") -> bytes:
        """Lists a file and returns the line to write; it begins with the line end, for one before it that was cut off.

        Args:
            name: the file.
            size: in bytes.
            checksum: CRC-32 of its content.
            source: what it was made of, such as path, size and time of an image.
        """
        stamp = _checksum(source)
        self._records[name] = self._records.get(name, b"") + _RECORD.pack(size, checksum, stamp)
        return f"\n{size} {checksum:08x} {stamp:08x} {json.dumps(name)}".encode()

    def forget(self, name: str) -> None:
        """Takes a file from the list in memory."""
        self._records.pop(name, None)


def header(identity: Mapping[str, Any]) -> bytes:
    """The first line of a manifest."""
    return json.dumps({"retinaface": 1, "identity": identity}, default=str).encode()


def fingerprint(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file; of a link, those of the path that it holds.

    Raises:
        OSError: neither a file nor a link, or not readable.
    """
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = os.fsencode(path.readlink())
        return len(target), zlib.crc32(target, 1)
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is no file")
    checksum = size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
            size += len(block)
    return size, checksum


def stamp_of(path: Path) -> str:
    """What tells an input from another of the same name: its path, size and time; OutputFolder.new_file takes it."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{real_path(path)} {status.st_size} {status.st_mtime_ns}"


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """`name was x, is y` for each value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from differences(before.get(key), now.get(key), f"{place}.{shown(key)}".removeprefix("."))
    elif before != now:
        yield f"{place or 'it'} was {shown(before, max_length=80)}, is {shown(now, max_length=80)}"


def real_path(path: str | Path) -> str:
    """The path without links; a path that no file can have, as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return os.fspath(path)


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def remove_listed(manifest: Manifest) -> list[str]:
    """Deletes the files of a manifest that are as they were written, then folders left empty below its root.

    Returns:
        Files that were changed since, or are reached over a link; they are left as they are.
    """
    kept = []
    folders = set()
    for name in manifest:
        path = manifest.root / name
        parents = list(path.parents)[: name.count("/")]
        if not os.path.lexists(path):
            pass
        elif any(map(Path.is_symlink, parents)) or not manifest.proves(name):
            kept.append(name)
        else:
            path.unlink()
        folders.update(parents)
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        with contextlib.suppress(OSError):  # not empty, or gone
            folder.rmdir()
    return kept
