"""The images that label and prediction files name: where they lie, how large they are, which name is which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError, SettingsError, shown
from retinaface_cli.faces import BoolArray, IntArray
from retinaface_cli.files.listing import IMAGE_SUFFIXES, exists
from retinaface_cli.files.names import UNPRINTABLE
from retinaface_cli.formats.image_heads import measure_file
from retinaface_cli.formats.reader import is_image
from retinaface_cli.formats.table import Action, FaceTable

_NUM_PROBED = 20
"""Names that are tried to find out where the images lie."""

_MAX_DEPTH = 16
"""Leading folders of a name that are taken off at most."""

_NUM_THREADS = 4

_EVENT = re.compile(r"(?:^|/)(\d+--[^/]+)/[^/]+$")
"""An image's folder as WIDER FACE names its events: `0--Parade`."""


class ImagePlace(NamedTuple):
    """The folder of the images, and how many leading folders of their names do not exist in it."""

    root: Path
    num_stripped: int = 0

    def name(self, file_name: str) -> str:
        """The image's name relative to the root, with its ending if the file is found by it."""
        parts = PurePosixPath(file_name).parts
        short = PurePosixPath(*parts[min(self.num_stripped, len(parts) - 1) :]).as_posix()
        return short + _missing_ending(self.root, short)


def find_image_root(path: Path, file_names: Sequence[str], *, split: str | None = None) -> Path | None:
    """The folder that the names of a label file are relative to, looked for around the file; None if not found.

    The part of the data set may be the name of a folder.
    """
    bases = (path,) if path.is_dir() else (path.parent, path.parent.parent)
    inner = ["", "images", *([f"WIDER_{split}/images", f"{split}/images"] if split else [])]
    probed = _probe(file_names)
    roots = [base / folder for base in bases for folder in inner]
    return next((root for root in roots if any(_is_in(root, name) for name in probed)), None)


def find_images(folder: Path, file_names: Sequence[str]) -> ImagePlace:
    """Finds how names and folder go together: the folder itself, its `images`, or with names that are longer.

    Raises:
        LabelFormatError: the folder does not exist, or holds none of the names that were tried.
    """
    if not folder.is_dir():
        raise LabelFormatError(f"{folder}: no such folder of images (--images)")
    probed = _probe(file_names)
    depth = min(max((len(PurePosixPath(name).parts) for name in probed), default=1), _MAX_DEPTH)
    places = [ImagePlace(root, k) for k in range(depth) for root in (folder, folder / "images")]
    hits = [sum(exists(place.root / place.name(name)) for name in probed) for place in places]
    if probed and not max(hits):
        raise LabelFormatError(
            f"{folder}: holds none of the labelled images; looked for {probed[0]} and {len(probed) - 1} others; "
            "give with --images the folder that these names are relative to"
        )
    return places[int(np.argmax(hits))] if probed else places[0]


def _probe(file_names: Sequence[str]) -> list[str]:
    """A few names from all over the list."""
    return list(file_names[:: max(len(file_names) // _NUM_PROBED, 1)])


def _is_in(root: Path, name: str) -> bool:
    return exists(root / name) or bool(_missing_ending(root, name))


def _missing_ending(root: Path, name: str) -> str:
    """The ending that a name lacks to be that of an image in the folder; nothing where it lacks none."""
    if is_image(name) or exists(root / name):
        return ""
    return next((suffix for suffix in IMAGE_SUFFIXES if exists(root / f"{name}{suffix}")), "")


def rename_images(table: FaceTable, place: ImagePlace) -> FaceTable:
    """Names the images relative to the place where they were found."""
    return replace(table, file_names=[place.name(name) for name in table.file_names], image_root=place.root)


def measure_images(table: FaceTable, root: Path) -> FaceTable:
    """Gives the table the true sizes of its images; images that are missing or broken are left out and counted.

    Raises:
        LabelFormatError: none of them can be read.
    """
    names = table.file_names
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        found = list(threads.map(measure_file, [root / name for name in names]))
    is_missing = np.array([size is None for size in found], np.bool_)
    is_broken = np.array([size == (0, 0) for size in found], np.bool_)
    if len(names) and (is_missing | is_broken).all():
        raise LabelFormatError(f"{root}: none of the {len(names)} labelled images can be read in it")
    sizes = np.array([size or (0, 0) for size in found], np.intp).reshape(-1, 2)
    differs = (table.image_sizes > 0).all(axis=1) & (sizes > 0).all(axis=1) & (sizes != table.image_sizes).any(axis=1)
    reasons: list[tuple[str, Action, BoolArray]] = [
        (f"image not found under {root}, left out", "dropped", is_missing),
        ("image that cannot be read, left out", "dropped", is_broken),
        ("size of the image other than labelled, taken from the image", "corrected", differs),
    ]
    measured = replace(table, image_sizes=sizes, image_root=root)
    for reason, action, mask in reasons:
        measured = measured.with_finding(reason, action, mask, names.__getitem__)
    left_out = is_missing | is_broken
    return measured.select_images(~left_out) if left_out.any() else measured


def leave_out_unprintable(table: FaceTable, place: str) -> FaceTable:
    """Leaves out images whose names hold control characters or are not UTF-8: a line of text cannot hold them."""
    names = table.file_names
    is_left_out = np.array([UNPRINTABLE.search(name) is not None for name in names], np.bool_)
    if not is_left_out.any():
        return table
    reason = "image whose name holds control characters or is not UTF-8, left out"
    found = table.with_finding(reason, "dropped", is_left_out, lambda i: f"{place}: {shown(names[i])}")
    return found.select_images(~is_left_out)


def join_repeated(table: FaceTable, place: str) -> FaceTable:
    """Gives each image of a source one entry; a repetition with the very same faces adds nothing."""
    owner = _first_of_name(table)
    is_again = owner != np.arange(len(owner))
    if not is_again.any():
        return table
    keep = np.ones(len(table.boxes), np.bool_)
    is_same = np.zeros(len(owner), np.bool_)
    faces = [np.arange(span.start, span.stop) for _, span in table.spans()]
    for i in np.flatnonzero(is_again).tolist():
        first = int(owner[i])
        is_same[i] = all(
            np.array_equal(values[faces[first]], values[faces[i]], equal_nan=True)
            for values in (table.boxes, table.landmarks)
        )
        if is_same[i]:
            keep[faces[i]] = False
        else:
            faces[first] = np.concatenate([faces[first], faces[i]])
    reasons: list[tuple[str, Action, BoolArray]] = [
        ("image named again with other faces, joined", "corrected", is_again & ~is_same),
        ("image named again with the same faces, left out", "dropped", is_same),
    ]
    names = [f"{place}: {name}" for name in table.file_names]
    for reason, action, mask in reasons:
        table = table.with_finding(reason, action, mask, names.__getitem__)
    return gather_images(table, keep)


def _first_of_name(table: FaceTable) -> IntArray:
    """(P,) position of the first image of the same name."""
    first_of: dict[str, int] = {}
    return np.array([first_of.setdefault(name, i) for i, name in enumerate(table.file_names)], np.intp)


def gather_images(table: FaceTable, keep: BoolArray | None = None) -> FaceTable:
    """One entry for each name, with the faces of all entries of that name; of a mask (N,) if it is given."""
    owner = _first_of_name(table)
    image_of = owner[table.image_index]
    order = np.argsort(image_of, kind="stable")
    order = order if keep is None else order[keep[order]]
    counts = np.bincount(image_of[order], minlength=len(owner))
    return replace(table.select_faces(order), num_faces=counts).select_images(owner == np.arange(len(owner)))


def pair_names(names: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """Finds the labelled image of each prediction.

    Names are the same, or differ in their ending alone, or one is the end of the other's path
    (`WIDER_val/images/a/x.jpg` and `a/x.jpg`), or both are the same number (COCO ids), as long as only one fits.

    Returns:
        For each name its position in the labels; None where it is in no label.
    """
    exact = {label: i for i, label in enumerate(labels)}
    by_end = _unique((end, i) for label, i in exact.items() for end in _ends(label))
    by_whole = _unique((_stem(label), i) for label, i in exact.items())
    by_number = _unique((number, i) for label, i in exact.items() if (number := _number(label)) is not None)
    paired: list[int | None] = []
    for name in names:
        stem = _stem(name)
        tried = (exact.get(name), by_whole.get(stem), by_end.get(stem), *(by_whole.get(end) for end in _ends(name)))
        found = next((i for i in tried if i is not None and i >= 0), None)
        number = _number(name) if found is None else None
        found = by_number.get(number) if number is not None else found
        paired.append(found if found is not None and found >= 0 else None)
    return paired


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Key -> position, -1 where several labels have the key."""
    result: dict[str, int] = {}
    for key, position in pairs:
        result[key] = position if result.get(key, position) == position else -1
    return result


def _stem(name: str) -> str:
    """The path without the ending of an image."""
    return name.rpartition(".")[0] if is_image(name) else name


def _ends(name: str) -> list[str]:
    """All ends of the path, longest first, without the ending."""
    parts = PurePosixPath(_stem(name)).parts
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _number(name: str) -> str | None:
    """The number that a file is named by, without leading zeros."""
    last = _stem(name).rpartition("/")[2]
    return last.lstrip("0") or "0" if last.isascii() and last.isdecimal() else None


def pick_subset(table: FaceTable, count: int, *, seed: int) -> FaceTable:
    """So many images at random, in the order of the file; all of them if the file has fewer."""
    return table.select_images(np.sort(np.random.default_rng(seed).permutation(len(table))[:count]))


def event_of(file_name: str) -> str | None:
    """The WIDER FACE event that an image belongs to by its name; None for other images."""
    match = _EVENT.search(file_name)
    return match[1] if match else None


def hold_out(table: FaceTable, fraction: float, *, seed: int) -> tuple[FaceTable, FaceTable]:
    """Splits images into those that stay and those that are held out, both in the order of the file.

    Images of WIDER FACE are held out by whole events, since those of one event look alike; all others one by one.

    Args:
        table: the images.
        fraction: part of the images to hold out, which whole events meet as nearly as they can.
        seed: decides which.

    Raises:
        SettingsError: one of the two sides would be empty.
    """
    events = [event_of(name) for name in table.file_names]
    members: dict[str, list[int]] = {}
    for i, event in enumerate(events):
        members.setdefault(event or f"/{i}", []).append(i)
    names = sorted(members)
    wanted = fraction * len(table)
    held: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(names)).tolist():
        group = members[names[i]]
        if abs(len(held) + len(group) - wanted) < abs(len(held) - wanted):
            held += group
    if not 0 < len(held) < len(table):
        kind = "events" if any(events) else "images"
        raise SettingsError(
            f"--holdout {fraction:g}: {len(names)} {kind} of {len(table)} images cannot be split like that; "
            "take another fraction"
        )
    is_held = np.isin(np.arange(len(table)), held)
    return table.select_images(~is_held), table.select_images(is_held)
