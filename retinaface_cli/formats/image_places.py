"""Where the images of a label file lie, and how large they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.image_heads import read_size_from_head
from retinaface_cli.formats.label_reader import is_there
from retinaface_cli.formats.label_set import MAX_EXAMPLES, Action, Finding

_NUM_PROBED = 20
"""Names that are tried to find out where the images lie."""

_NUM_THREADS = 4


@dataclass(frozen=True)
class ImagePlace:
    """The folder of the images, and how many leading folders of their names do not exist there."""

    root: Path
    num_stripped: int = 0

    def name(self, file_name: str) -> str:
        """The image's name relative to the root."""
        parts = PurePosixPath(file_name).parts
        return PurePosixPath(*parts[min(self.num_stripped, len(parts) - 1) :]).as_posix()


def find_image_root(path: Path, file_names: Sequence[str], *, split: str | None = None) -> Path | None:
    """The folder that the names of a label file are relative to, looked for around the file; None if not found.

    Args:
        path: the label file or folder.
        file_names: names of its images.
        split: part of the data set, which may be the name of a folder.
    """
    bases = (path,) if path.is_dir() else (path.parent, path.parent.parent)
    inner = ["", "images", *([f"WIDER_{split}/images", f"{split}/images"] if split else [])]
    roots = [base / folder for base in bases for folder in inner]
    probed = _probe(file_names)
    return next((root for root in roots if any(is_there(root / name) for name in probed)), None)


def find_images(folder: Path, file_names: Sequence[str]) -> ImagePlace:
    """Finds how names and folder go together: the folder itself, its `images`, or with names that are longer.

    Raises:
        LabelFormatError: the folder does not exist, or none of the names tried is there.
    """
    if not folder.is_dir():
        raise LabelFormatError(f"{folder}: no such folder of images (--images)")
    probed = _probe(file_names)
    depth = max((len(PurePosixPath(name).parts) for name in probed), default=1)
    places = [ImagePlace(root, k) for k in range(depth) for root in (folder, folder / "images")]
    hits = [sum(is_there(place.root / place.name(name)) for name in probed) for place in places]
    if probed and not max(hits):
        raise LabelFormatError(
            f"{folder}: holds none of the labelled images; looked for {probed[0]} and {len(probed) - 1} others; "
            "give with --images the folder that these names are relative to"
        )
    return places[int(np.argmax(hits))] if probed else places[0]


def _probe(file_names: Sequence[str]) -> list[str]:
    """A few names from all over the list."""
    step = max(len(file_names) // _NUM_PROBED, 1)
    return list(file_names[::step])


def rename_images(table: FaceTable, place: ImagePlace) -> FaceTable:
    """Names the images relative to the place where they were found."""
    names = [place.name(name) for name in table.file_names]
    return dataclasses.replace(table, file_names=names, image_root=place.root)


def measure_images(table: FaceTable, root: Path) -> FaceTable:
    """Gives the table the true sizes of its images; images that are missing or broken are left out and counted.

    Raises:
        LabelFormatError: none of them can be read.
    """
    names = table.file_names
    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        found = list(threads.map(_measure, [root / name for name in names]))
    is_missing = np.array([size is None for size in found], np.bool_)
    is_broken = np.array([size == (0, 0) for size in found], np.bool_)
    sizes = np.array([size or (0, 0) for size in found], np.intp).reshape(-1, 2)
    differs = (table.image_sizes > 0).all(axis=1) & (sizes > 0).all(axis=1) & (sizes != table.image_sizes).any(axis=1)
    reasons: list[tuple[str, Action, np.ndarray[tuple[int], np.dtype[np.bool_]]]] = [
        (f"image not found under {root}, left out", "dropped", is_missing),
        ("image that cannot be read, left out", "dropped", is_broken),
        ("size of the image other than labelled, taken from the image", "mended", differs),
    ]
    findings = tuple(
        Finding(reason, action, len(index), tuple(names[i] for i in index[:MAX_EXAMPLES].tolist()))
        for reason, action, mask in reasons
        if len(index := np.flatnonzero(mask))
    )
    if len(names) and (is_missing | is_broken).all():
        raise LabelFormatError(f"{root}: none of the {len(names)} labelled images can be read there")
    measured = dataclasses.replace(table, image_sizes=sizes, image_root=root, findings=table.findings + findings)
    return select_images(measured, np.flatnonzero(~(is_missing | is_broken)))


def select_images(table: FaceTable, index: np.ndarray[tuple[int], np.dtype[np.intp]]) -> FaceTable:
    """The images at the given positions, with their faces."""
    if len(index) == len(table.file_names) and (np.diff(index) == 1).all():
        return table
    counts = table.num_faces[index]
    firsts = np.repeat(table.starts[index] - (np.cumsum(counts) - counts), counts)
    faces = firsts + np.arange(len(firsts))
    return dataclasses.replace(
        table,
        file_names=[table.file_names[i] for i in index.tolist()],
        num_faces=counts,
        boxes=table.boxes[faces],
        landmarks=table.landmarks[faces],
        has_landmarks=table.has_landmarks[faces],
        ignore=table.ignore[faces],
        image_sizes=table.image_sizes[index],
        sources=[table.sources[i] for i in index.tolist()],
        lines=table.lines[faces],
        attributes={name: values[faces] for name, values in table.attributes.items()},
    )


def _measure(path: Path) -> tuple[int, int] | None:
    """(height, width); (0, 0) if the file is no image, None if it is not there."""
    try:
        return read_size_from_head(path) or (0, 0)
    except OSError:
        return None
