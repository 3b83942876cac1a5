"""What the user names on the command line -> the images and videos behind it."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.errors import ImageReadError

IMAGE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".png",
        ".bmp",
        ".dib",
        ".webp",
        ".tif",
        ".tiff",
        ".jp2",
        ".pgm",
        ".ppm",
        ".pnm",
        ".pbm",
        ".avif",
        ".gif",
    )
)
VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"))


@dataclass(frozen=True)
class Source:
    """One image or video to work on.

    Attributes:
        path: where it lies.
        name: its path relative to the input root, forward slashes; unique in a run.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the file's ending is that of a video."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """Resolves files, folders (recursive), globs, `@list.txt` and `-` (paths on standard input).

    The order is that of the inputs, folders sorted by path; a file that is named twice comes once. Names are relative
    to the folder where one folder is given, else to the deepest folder that holds everything.

    Raises:
        ImageReadError: an input does not exist, or nothing is found.
    """
    expanded = list(_expand(inputs))
    paths = list(dict.fromkeys(path for entry in expanded for path in _files_under(entry)))
    if not paths:
        known = ", ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
        raise ImageReadError(f"{', '.join(inputs)}: no images or videos found; looked for {known}")
    root = _common_root(expanded)
    return [Source(path, Path(os.path.relpath(path.absolute(), root)).as_posix()) for path in paths]


def _expand(inputs: Iterable[str]) -> Iterator[Path]:
    """The files and folders that the inputs name, in their order."""
    for item in inputs:
        if item == "-":
            yield from (Path(line) for line in _lines(sys.stdin, "standard input"))
        elif Path(item).exists():
            yield Path(item)
        elif item.startswith("@"):
            yield from _read_list(Path(item[1:]))
        else:
            # Path.glob takes no absolute patterns
            matches = sorted(glob.glob(item, recursive=True)) if _is_glob(item) else []  # noqa: PTH207
            if not matches:
                raise ImageReadError(f"{item}: no such file or folder")
            yield from map(Path, matches)


def _is_glob(item: str) -> bool:
    return any(character in item for character in "*?[")


def _read_list(path: Path) -> list[Path]:
    """Paths of a text file, one a line; relative ones are taken from the current folder, then from the list's."""
    try:
        with path.open(encoding="utf-8") as lines:
            listed = [Path(line) for line in _lines(lines, str(path))]
    except (OSError, UnicodeDecodeError) as error:
        raise ImageReadError(f"{path}: the list of images cannot be read ({error})") from None
    return [entry if entry.exists() or entry.is_absolute() else _beside(path, entry) for entry in listed]


def _beside(list_path: Path, entry: Path) -> Path:
    """The entry relative to the list's folder if it exists there, else as it is (its absence is reported later)."""
    candidate = list_path.parent / entry
    return candidate if candidate.exists() else entry


def _lines(stream: Iterable[str], name: str) -> Iterator[str]:
    """Stripped lines; blank ones and comments (#) are passed over."""
    found = False
    for line in stream:
        text = line.strip()
        if text and not text.startswith("#"):
            found = True
            yield text
    if not found:
        raise ImageReadError(f"{name}: holds no paths")


def _files_under(entry: Path) -> Iterator[Path]:
    """The entry itself, or the images and videos below it, sorted; folders named like images come too."""
    if not entry.is_dir():
        yield entry
        return
    wanted = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    for folder, folders, files in os.walk(entry, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted([*files, *(name for name in folders if Path(name).suffix.lower() in IMAGE_SUFFIXES)])
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in wanted:
                yield Path(folder, name)


def _common_root(entries: Sequence[Path]) -> Path:
    """The folder that names are relative to."""
    folders = [str((entry if entry.is_dir() else entry.parent).absolute()) for entry in entries]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # several drives on Windows
        return Path.cwd()
