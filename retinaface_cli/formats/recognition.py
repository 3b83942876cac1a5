"""Finding out the format of a source of labels by looking at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.label_reader import SPLIT_NAMES, Glimpse, LabelReader


def recognize_format(path: Path, readers: Mapping[str, LabelReader], *, split: str | None = None) -> tuple[str, Path]:
    """The format of a source, and the path to read: the source itself, or the only label file of a folder.

    Args:
        path: a file or folder.
        readers: all formats, by name.
        split: train, val or test; of several label files in a folder the one that has it in its path is meant.

    Raises:
        LabelFormatError: there is no such source, or no format fits; the message says what was looked for and found.
    """
    if not path.exists():
        raise LabelFormatError(f"{path}: no such file or folder of labels")
    name = _recognize(Glimpse(path), readers)
    if name is not None:
        return name, path
    if path.is_dir():
        inner = {file: found for file in _label_files(path) if (found := _recognize(Glimpse(file), readers))}
        names = SPLIT_NAMES.get(split or "", ())
        of_split = [file for file in inner if {*names} & {*re.split("[^a-z]+", str(file.relative_to(path)).lower())}]
        inner = {file: inner[file] for file in of_split} or inner
        if len(inner) == 1:
            file, name = next(iter(inner.items()))
            return name, file
        if inner:
            files = ", ".join(file.relative_to(path).as_posix() for file in list(inner)[:6])
            raise LabelFormatError(f"{path}: holds {len(inner)} label files; name one of them, or --split: {files}")
    looked = "\n".join(f"  {name}: {reader.title}: {reader.look}" for name, reader in readers.items())
    raise LabelFormatError(
        f"{path}: the format of these labels is not known; found {_describe(path)}\n"
        f"name the format with --from, or give one of these:\n{looked}"
    )


def _recognize(glimpse: Glimpse, readers: Mapping[str, LabelReader]) -> str | None:
    """The first format that fits."""
    if not glimpse.path.is_dir() and not glimpse.head:
        raise LabelFormatError(f"{glimpse.path}: the file is empty")
    return next((name for name, reader in readers.items() if reader.recognizes(glimpse)), None)


def _label_files(folder: Path) -> list[Path]:
    """Files of a folder, and of those directly below it, that may hold labels of a whole set."""
    wanted = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".mat", ".gz")
    found = [file for pattern in ("*", "*/*") for file in sorted(folder.glob(pattern))]
    return [file for file in found if file.suffix.lower() in wanted and file.is_file() and file.stat().st_size][:200]


def _describe(path: Path) -> str:
    """What is there, in a few words."""
    glimpse = Glimpse(path)
    if path.is_dir():
        files = [name for name in glimpse.files if not name.endswith("/")]
        listed = ", ".join(files[:6]) + (", ..." if len(files) > 6 else "")
        return f"a folder with {listed or 'no files but images'}"
    start = glimpse.head[:60]
    if b"\0" in start:
        return f"a binary file that begins with {start[:16]!r}"
    return f"text that begins with {start.decode('utf-8', errors='replace').splitlines()[0]!r}"
