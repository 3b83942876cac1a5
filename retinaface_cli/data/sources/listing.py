"""From inputs as the user names them to sources: files, folders, globs, numbered shards, lists."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from retinaface_cli.data.sources.files import Source
from retinaface_cli.data.sources.shards import SHARD_SUFFIXES, Shard, is_shard
from retinaface_cli.errors import FileReadError, ImageReadError, shown
from retinaface_cli.files.addresses import Address, find_addresses, is_address, path_of
from retinaface_cli.files.listing import (
    IMAGE_SUFFIXES,
    OWN_RESULT,
    VIDEO_SUFFIXES,
    FoundFile,
    LeftOut,
    OwnResults,
    Problem,
    exists,
    find_listed,
    folder_of,
    read_list,
    walk_folder,
)
from retinaface_cli.files.names import UNPRINTABLE, UNPRINTABLE_NAME

SUFFIXES = IMAGE_SUFFIXES.union(VIDEO_SUFFIXES, SHARD_SUFFIXES)
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]{1,20})\.\.([0-9]{1,20})")
_MAX_EXPANDED = 1_000_000


@dataclass
class SourceListing:
    """What the inputs hold.

    Attributes:
        sources: images, videos and shards, in the order of the inputs.
        problems: entries of lists and folders that cannot be used.
        left_out: number of other files in folders by ending.
    """

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def find_sources(inputs: Sequence[str], *, output: Path | None = None) -> SourceListing:
    """Resolves files, folders (with all below), globs, `{000..999}`, `@list.txt` and `-` (paths on standard input).

    All may lie at addresses, such as `s3://bucket/folder`. The order is that of the inputs; a file that is named twice
    comes once. Names are relative to the folder where one folder is given, else to the deepest folder that holds
    everything. Results of earlier runs are left out of folders and globs, and those in the output folder wherever they
    are named.

    Args:
        inputs: as the user names them.
        output: the output folder of the run, if it has one.

    Raises:
        ImageReadError: an input does not exist, or nothing is found.
    """
    listing = SourceListing()
    places: dict[str, Path | Address] = {}
    folders: list[str] = []
    results = OwnResults(output)
    for entry, base in _expand(inputs):
        if isinstance(entry, Problem):
            listing.problems.append(entry)
            continue
        if isinstance(entry, str):
            places.setdefault(entry, entry)
            continue
        folders.append(_absolute(entry if entry.is_dir() else entry.parent))
        for found in _look_into(entry, output):
            if isinstance(found, Problem):
                listing.problems.append(found)
            elif isinstance(found, LeftOut):
                listing.left_out[found.suffix] += 1
            elif results.lists(found.path, below=base):
                listing.left_out[OWN_RESULT] += 1
            else:
                places.setdefault(_absolute(found.path), found.path)
    if not places and not listing.problems:
        raise ImageReadError(f"{', '.join(map(shown, inputs))}: no images or videos found{describe_left_out(listing)}")
    named = list(_name_sources(places, folders))
    listing.sources = [one for one in named if isinstance(one, Source)]
    listing.problems += [one for one in named if isinstance(one, Problem)]
    return listing


def _look_into(place: Path, output: Path | None) -> Iterable[FoundFile | Problem | LeftOut]:
    """What lies in a folder and below it, or the file itself."""
    if not place.is_dir():
        return [FoundFile(place, place.name)]
    return walk_folder(place, suffixes=SUFFIXES, excluded=[output] if output else [])


def _name_sources(places: Mapping[str, Path | Address], folders: Sequence[str]) -> Iterator[Source | Problem]:
    """What lies at the places, with names; `folders` are those of this machine that hold all files of it."""
    root, address_root = _common_root(folders), _common_address_root(places.values(), is_alone=not folders)
    for place, location in places.items():
        if isinstance(location, str):
            yield source_of(location, path_of(location)[len(address_root) :].lstrip("/"))
        else:
            yield source_of(location, os.path.relpath(place, root).replace(os.sep, "/"))


def _common_address_root(places: Iterable[Path | Address], *, is_alone: bool) -> str:
    """The folder that names at addresses are relative to; nothing where there are files of this machine, too."""
    folders = {posixpath.dirname(path_of(place)) for place in places if isinstance(place, str)}
    return posixpath.commonpath(folders) if folders and is_alone else ""


def source_of(location: str | Path, name: str) -> Source | Problem:
    """What lies at a path or an address, as a source of its kind; a problem if no result file can hold its name."""
    return Problem(name, UNPRINTABLE_NAME) if UNPRINTABLE.search(name) else make_source(location, name)


def make_source(location: str | Path, name: str) -> Source:
    """A source of the kind that its ending says."""
    if isinstance(location, str) and is_address(location):
        path = Path(path_of(location))
        return (Shard if is_shard(path.name) else Source)(path, name, address=location)
    return (Shard if is_shard(name) else Source)(Path(location), name)


def _absolute(path: Path) -> str:
    """The path from the root; links are not resolved."""
    return os.path.abspath(path)  # noqa: PTH100


def describe_left_out(listing: SourceListing) -> str:
    """`; left out: 12 .heic, 3 without an ending`, and what to do about HEIC; nothing where nothing was left out."""
    if not listing.left_out:
        return ""
    counts = ", ".join(
        f"{count:,} {suffix or 'without an ending'}" for suffix, count in listing.left_out.most_common(8)
    )
    is_heic = any(suffix in (".heic", ".heif") for suffix in listing.left_out)
    return f"; left out: {counts}" + ("; convert HEIC first, e.g. with heif-convert" if is_heic else "")


def _expand(inputs: Iterable[str]) -> Iterator[tuple[Path | Address | Problem, Path | None]]:
    """The files and folders that the inputs name, in their order; with the folder in which a glob looks for them."""
    for item in inputs:
        if is_list(item):
            yield from ((entry, None) for entry in _find_all_listed(item.removeprefix("@")))
        elif exists(item):
            yield Path(item), None
        elif is_address(item):
            yield from ((entry, None) for entry in _match_address(item))
        else:
            yield from _match(item)


def is_list(item: str) -> bool:
    """Whether an input is a list, `@list.txt`, or standard input."""
    return item == "-" or (item.startswith("@") and not exists(item))


def _find_all_listed(location: str) -> Iterator[Path | Address | Problem]:
    """What a list names, which must be anything."""
    folder, is_empty = folder_of(location), True
    try:
        for line in read_list(location):
            for entry in find_listed(line, folder):
                is_empty = False
                yield entry
    except FileReadError as error:
        raise ImageReadError(f"{error}; expected a list of images") from None
    if is_empty:
        raise ImageReadError(f"{'standard input' if location == '-' else shown(location)}: holds no paths")


def _match_address(item: str) -> Iterator[Address]:
    """The files of an address with `{000..999}` or `*`, or of a folder's address."""
    for address in expand_braces(item):
        if path_of(address).lower().endswith(tuple(SUFFIXES)) and not any(mark in address for mark in "*["):
            yield Address(address)
        else:
            found = find_addresses(address, suffixes=SUFFIXES, error=ImageReadError)
            if not found:
                raise ImageReadError(f"{shown(address)}: no such file or folder, or no images in it")
            yield from found


def _match(item: str) -> Iterator[tuple[Path | Problem, Path | None]]:
    """The files and folders of a name with `{000..999}`, `*` and the like; a number without a file is a problem."""
    found: list[tuple[Path | Problem, Path | None]] = []
    for name in expand_braces(item):
        if _is_glob(name):
            base = Path(*takewhile(lambda part: not _is_glob(part), Path(name).parts))
            # Path.glob takes no absolute patterns
            found += ((Path(match), base) for match in sorted(glob.glob(name, recursive=True)))  # noqa: PTH207
        else:
            found.append((Path(name) if exists(name) else Problem(name, "no such file or folder"), None))
    if not any(isinstance(entry, Path) for entry, _ in found):
        raise ImageReadError(f"{shown(item)}: no such file or folder")
    yield from found


def expand_braces(text: str) -> list[str]:
    """The names that `{000..012}` (all numbers, with as many digits) and `{a,b}` stand for, as in a shell.

    Raises:
        ImageReadError: they are more than a million, or none.
    """
    names: list[str] = []
    waiting = [text]
    while waiting:
        name = waiting.pop()
        match = _BRACES.search(name)
        numbers = _RANGE.fullmatch(match[1]) if match else None
        if match is None or (numbers is None and "," not in match[1]):
            names.append(name)
            continue
        parts: Sequence[object] = match[1].split(",")
        if numbers:
            parts = range(int(numbers[1]), int(numbers[2]) + 1)
        if not 0 < len(parts) + len(waiting) + len(names) <= _MAX_EXPANDED:
            raise ImageReadError(f"{shown(text)}: expected braces that stand for 1 to {_MAX_EXPANDED:,} names")
        width = len(numbers[1]) if numbers else 0
        head, tail = name[: match.start()], name[match.end() :]
        waiting += [f"{head}{part:>0{width}}{tail}" if width else f"{head}{part}{tail}" for part in reversed(parts)]
    return names


def _is_glob(item: str) -> bool:
    return any(character in item for character in "*?[") and "\0" not in item


def _common_root(folders: Sequence[str]) -> str:
    """The folder that names are relative to."""
    try:
        return os.path.commonpath(folders) if folders else str(Path.cwd())
    except ValueError:  # several drives on Windows
        return str(Path.cwd())
