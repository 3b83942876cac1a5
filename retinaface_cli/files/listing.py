"""The one walk over folders, and lists of files: what is there, in natural order, and what was left out."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from retinaface_cli.errors import FileReadError, reason_of
from retinaface_cli.files.addresses import Address, is_address, open_anywhere
from retinaface_cli.files.manifest import Manifest, has_manifest, real_path
from retinaface_cli.files.reading import encoding_of, without_surrogates

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif")
).union((".tiff", ".jp2", ".j2k", ".pgm", ".ppm", ".pnm", ".pbm"))
"""Endings of the images that OpenCV decodes."""

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"))

OWN_RESULT = "(results of earlier runs)"
"""Stands for the ending of a file that a manifest of ours lists."""

_MAX_LINE = 1 << 16
_BLOCK = 1 << 18
_NOT_DATA = frozenset(("__macosx", "thumbs.db", "desktop.ini", "@eadir"))
"""What systems put beside a user's files, in small letters; hidden files are left out anyway."""


class FoundFile(NamedTuple):
    """A file of a folder.

    Attributes:
        path: where it lies.
        name: relative to the folder, forward slashes.
    """

    path: Path
    name: str


class Problem(NamedTuple):
    """A file, folder or entry of a list that cannot be used; the name may hold anything, so print `shown(name)`."""

    name: str
    reason: str


class LeftOut(NamedTuple):
    """A file of a folder that is not of the wanted kind: its ending in small letters, or OWN_RESULT."""

    suffix: str


def walk_folder(
    folder: Path, *, suffixes: Collection[str], excluded: Iterable[Path] = (), own_results: bool = False
) -> Iterator[FoundFile | Problem | LeftOut]:
    """The files of a folder, in natural order, then those of the folders in it, and what is left out.

    Hidden files and what systems put beside a user's files are left out. Links are followed; a folder that is reached
    on several ways comes once, so links cannot make a loop.

    Args:
        folder: where to begin; it may be hidden or a link itself.
        suffixes: wanted endings in small letters with their dot; empty: all files.
        excluded: folders to leave out with all below them, such as the output folder of this run; one that is `folder`
            itself or above it is not left out: its results are, by their manifest.
        own_results: whether files come that a manifest of ours lists, too.
    """
    left_out = {real_path(path) for path in excluded} - {real_path(folder)}
    visited: set[tuple[int, int]] = set()
    manifests: dict[str, Manifest] = {}
    waiting = [("", os.fspath(folder))]
    while waiting:
        prefix, place = waiting.pop()
        try:
            status = os.stat(place)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in visited or (prefix and real_path(place) in left_out):
                continue
            visited.add((status.st_dev, status.st_ino))
            folders, files = _entries(place)
            if not own_results and has_manifest(place):
                manifests[prefix] = Manifest.read(Path(place))
        except (OSError, ValueError, FileReadError) as error:
            yield Problem(place, f"the folder cannot be read ({reason_of(error)})")
            continue
        waiting.extend((f"{prefix}{name}/", os.path.join(place, name)) for name in reversed(folders))  # noqa: PTH118
        for name in files:
            yield _sort_out(FoundFile(Path(place, name), f"{prefix}{name}"), suffixes, manifests)


def _sort_out(file: FoundFile, suffixes: Collection[str], manifests: Mapping[str, Manifest]) -> FoundFile | LeftOut:
    """The file, if it is wanted; `manifests` are those of the folders (with their `/`) that have one."""
    suffix = os.path.splitext(file.name)[1].lower()  # noqa: PTH122
    if suffixes and suffix not in suffixes and not file.name.lower().endswith(tuple(suffixes)):
        return LeftOut(suffix)
    is_own = any(file.name.startswith(at) and own.lists(file.name[len(at) :]) for at, own in manifests.items())
    return LeftOut(OWN_RESULT) if is_own else file


class OwnResults:
    """Tells which files runs of ours wrote, by the manifests of the folders above them."""

    def __init__(self, output: Path | None = None) -> None:
        """Makes one for a run whose output folder is `output`; results in it are known wherever they are named."""
        self._output = Path(real_path(output)) if output is not None and has_manifest(output) else None
        self._manifests: dict[Path, Manifest | None] = {}

    def lists(self, path: Path, *, below: Path | None = None) -> bool:
        """Whether a manifest lists the file: that of the output folder, of `below`, or of a folder between them."""
        if self._output is not None and self._is_listed(Path(real_path(path)), self._output):
            return True
        return below is not None and self._is_listed(path, below)

    def _is_listed(self, path: Path, below: Path) -> bool:
        folders = list(path.parents)[: len(path.parts) - len(below.parts)] if path.is_relative_to(below) else []
        for folder in folders:
            if folder not in self._manifests:
                self._manifests[folder] = Manifest.read(folder) if has_manifest(folder) else None
            manifest = self._manifests[folder]
            if manifest is not None and manifest.lists(path.relative_to(folder).as_posix()):
                return True
        return False


def _entries(place: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, each in natural order."""
    folders: list[str] = []
    files: list[str] = []
    with os.scandir(place) as entries:
        for entry in entries:
            if is_data(entry.name):
                (folders if _is_folder(entry) else files).append(entry.name)
    return sorted(folders, key=natural_key), sorted(files, key=natural_key)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def exists(path: str | Path) -> bool:
    """Whether something is at a path; nothing is at one that no file can have."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long, or with a character that is no name's
        return False


def is_data(name: str) -> bool:
    """Whether a file or folder of this name is the user's: not hidden, and not put there by a system."""
    return not name.startswith(".") and name.lower() not in _NOT_DATA


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A key that sorts names as people count: img2 before img10."""
    parts = re.split("([0-9]+)", name.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def read_list(location: str) -> Generator[str | Problem, None, None]:
    """The lines of a list at a path or an address, or on standard input (`-`); see split_list.

    Raises:
        FileReadError: the list itself cannot be read.
    """
    if location == "-":
        yield from split_list(sys.stdin.buffer)
        return
    with open_anywhere(location) as stream:
        yield from split_list(stream)


def folder_of(location: str) -> Path | Address:
    """The folder in which a list lies, by its path or address; the working folder for standard input."""
    return Address(location.rpartition("/")[0]) if is_address(location) else Path(location).parent


def split_list(stream: BinaryIO) -> Iterator[str | Problem]:
    """The lines of a list that are not blank, or its texts that end with NUL (`find -print0`), one at a time.

    UTF-8 and UTF-16 with a byte order mark are known; bytes that are no UTF-8 come as surrogates.
    """
    for entry in _split(stream):
        if isinstance(entry, tuple):
            yield Problem(entry[0], f"the line is longer than {_MAX_LINE:,} characters")
        elif entry.strip():
            yield entry


def _split(stream: BinaryIO) -> Iterator[str | tuple[str]]:
    """The lines of a list, or what stands between NULs where they are more; a line that is too long as a tuple."""
    buffered = io.BufferedReader(stream, _BLOCK) if isinstance(stream, io.RawIOBase) else stream
    start = buffered.read(_BLOCK) or b""
    encoding = encoding_of(start)
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding.startswith("utf-8") else "replace")
    text = decoder.decode(start)
    separator = "\0" if text.count("\0") > text.count("\n") else "\n"
    while text:
        *lines, rest = text.split(separator)
        for line in lines:
            yield line.removesuffix("\r") if len(line) <= _MAX_LINE else (line[:_MAX_LINE],)
        block = buffered.read(_BLOCK) or b""
        if len(rest) > 2 * _MAX_LINE:
            rest = rest[: _MAX_LINE + 1]  # enough to be reported, once its end is found
        text = rest + decoder.decode(block, not block)
        if not block:
            yield text if len(text) <= _MAX_LINE else (text[:_MAX_LINE],)
            return


def find_listed(line: str | Problem, folder: Path | Address) -> Iterator[Path | Address | Problem]:
    """The existing file or folder that a line of a list in `folder` names, nothing for a comment (`#`), or a problem.

    A name is looked for from the working folder, then from `folder`, as its bytes are, then as Windows-1252, with and
    without quotes around it. Files at addresses, and those of a list at an address, are not looked for.
    """
    if isinstance(line, Problem):
        yield line
        return
    text = line.strip()
    if is_address(text):
        yield Address(text)
        return
    if isinstance(folder, str):
        if not text.startswith("#"):
            yield Address(f"{folder}/{text}")
        return
    names = [line, text, without_surrogates(text)]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        names += [name[1:-1] for name in names[1:]]
    names += [name.replace("\\", "/") for name in names if "\\" in name]
    for name in dict.fromkeys(names):
        for path in (Path(name), folder / name):
            if "\0" not in name and os.path.lexists(path):
                yield path
                return
    if not text.startswith("#"):
        yield Problem(text, _reason(text))


def _reason(name: str) -> str:
    if "\0" in name:
        return "a name cannot hold a NUL character"
    return "the name is too long" if max(map(len, name.split("/"))) > 255 else "no such file or folder"
