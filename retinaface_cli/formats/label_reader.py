"""What every reader of labels has in common: its interface, a first glimpse of a source, and records of faces."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.label_set import Finding

SPLITS = ("train", "val", "test")
"""Parts of a data set, by the names that --split takes."""

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""What folders and files of each part are called."""

_HEAD_BYTES = 1 << 16
_MAX_ENTRIES = 20_000
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".avif")
"""Endings of images, where a format does not name them."""


def is_there(path: Path) -> bool:
    """Whether a path that a label file names is there; one that no file can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a character that is no name's
        return False


@dataclass(frozen=True)
class ReadingOptions:
    """What a reader may need to know besides the path.

    Attributes:
        split: one of SPLITS, where the source holds several; None: it must hold one.
        images: folder of the images; None: where the format puts them.
        classes: names of the classes that are faces, for formats that hold other objects too; empty: by their names.
    """

    split: str | None = None
    images: Path | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Glimpse:
    """What can be seen of a source without reading it all."""

    path: Path

    @cached_property
    def head(self) -> bytes:
        """The first 64 KB of a file (unpacked), without byte order mark and leading spaces; nothing of a folder."""
        if self.path.is_dir():
            return b""
        try:
            with self.path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
            if head[:2] == b"\x1f\x8b":
                with gzip.open(self.path) as packed:
                    head = packed.read(_HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise LabelFormatError(f"{self.path}: cannot be read: {error}") from None
        return head.removeprefix(b"\xef\xbb\xbf").lstrip()

    @cached_property
    def lines(self) -> list[str]:
        """The first lines of a text file; bytes that are not UTF-8 are replaced."""
        return self.head[:4096].decode("utf-8", errors="replace").splitlines()[:5]

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths relative to the folder of the first files in it that are no images, sorted; folders end in `/`."""
        return tuple(sorted(_walk(self.path))) if self.path.is_dir() else ()


def _walk(root: Path) -> Iterator[str]:
    """The folder's content without images and hidden files, up to a bound."""
    num_seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = Path(folder).relative_to(root)
        yield from ((inner / name).as_posix() + "/" for name in folders)
        for name in sorted(files):
            num_seen += 1
            if not name.startswith(".") and not name.lower().endswith(IMAGE_SUFFIXES):
                yield (inner / name).as_posix()
        if num_seen > _MAX_ENTRIES:
            return


@dataclass(frozen=True)
class LabelReader:
    """One format of labels.

    Attributes:
        title: its name, in the user's words.
        look: what a source of it looks like.
        recognizes: whether a source is of this format, by a look at it.
        read: reads a source; raises LabelFormatError with the place.
    """

    title: str
    look: str
    recognizes: Callable[[Glimpse], bool]
    read: Callable[[Path, ReadingOptions], FaceTable]


def choose_split(found: Sequence[str], wanted: str | None, path: Path) -> str:
    """The wanted part of a data set, or the only one.

    Raises:
        LabelFormatError: the wanted one is not there, or there are several.
    """
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted in found and wanted is not None:
        return wanted
    problem = f"no {wanted} part" if wanted else "several parts"
    raise LabelFormatError(f"{path}: {problem}; choose with --split, one of: {', '.join(found) or 'none found'}")


Point = tuple[float, float]


@dataclass(frozen=True)
class FaceRecord:
    """One face as read.

    Attributes:
        box: x_min, y_min, x_max, y_max in pixels.
        points: nothing, or five points in the order of LANDMARK_NAMES, None where missing.
        ignore: the source's own mark.
        attributes: name -> value.
        line: in the label file, from 1; 0 where unknown.
    """

    box: Sequence[float]
    points: Sequence[Point | None] = ()
    ignore: bool = False
    attributes: Mapping[str, float] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class ImageRecord:
    """One image as read, from which label file; its size is (height, width), 0 where unknown."""

    file_name: str
    source: Path
    faces: Sequence[FaceRecord]
    size: tuple[int, int] = (0, 0)


def build_table(
    images: Sequence[ImageRecord],
    *,
    format_name: str,
    boxes_are_corners: bool = True,
    is_order_known: bool = True,
    image_root: Path | None = None,
    findings: tuple[Finding, ...] = (),
) -> FaceTable:
    """Puts records into flat arrays; for the options see FaceTable."""
    faces = [face for image in images for face in image.faces]
    landmarks = np.full((len(faces), NUM_LANDMARKS, 2), np.nan)
    index = [(i, k) for i, face in enumerate(faces) for k, point in enumerate(face.points) if point is not None]
    has_landmarks = np.zeros((len(faces), NUM_LANDMARKS), np.bool_)
    if index:
        rows, columns = np.array(index).T
        landmarks[rows, columns] = [point for face in faces for point in face.points if point is not None]
        has_landmarks[rows, columns] = True
    names = dict.fromkeys(name for face in faces for name in face.attributes)
    attributes = {name: np.full(len(faces), np.nan) for name in names}
    for i, face in enumerate(faces):
        for name, value in face.attributes.items():
            attributes[name][i] = value
    return FaceTable(
        format_name=format_name,
        file_names=[image.file_name for image in images],
        num_faces=np.array([len(image.faces) for image in images], np.intp),
        boxes=np.array([face.box for face in faces], np.float64).reshape(-1, 4),
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        ignore=np.array([face.ignore for face in faces], np.bool_),
        image_sizes=np.array([image.size for image in images], np.intp).reshape(-1, 2),
        sources=[image.source for image in images],
        lines=np.array([face.line for face in faces], np.intp),
        attributes=attributes,
        boxes_are_corners=boxes_are_corners,
        is_order_known=is_order_known,
        image_root=image_root,
        findings=findings,
    )
