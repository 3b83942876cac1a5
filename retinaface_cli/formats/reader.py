"""What every reader has in common: its interface, the beginning of a source, and gathering faces one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.files.listing import IMAGE_SUFFIXES, FoundFile, walk_folder
from retinaface_cli.formats.table import MAX_EXAMPLES, Action, FaceTable, Finding
from retinaface_cli.formats.text import read_head, try_read_head

SPLITS = ("train", "val", "test")
"""Parts of a data set, by the names that --split takes."""

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""What folders and files of each part are called."""

_MAX_ENTRIES = 20_000
_MAX_PROBED = 200
_NUM_HEADS = 3

Point = tuple[float, float]


def walk_files(folder: Path, *suffixes: str) -> Iterator[Path]:
    """The files of a folder and all below it in natural order, of all endings or of those given."""
    found = walk_folder(folder, suffixes=suffixes, own_results=True)
    return (entry.path for entry in found if isinstance(entry, FoundFile))


def is_image(name: str) -> bool:
    """Whether a name ends as an image's does."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


class ReadingOptions(NamedTuple):
    """What a reader may need to know besides the path.

    Attributes:
        split: one of SPLITS, where the source holds several; None: it must hold one.
        images: folder of the images; None: where the format puts them.
        classes: names of the classes that are faces, for formats that hold other objects too; empty: by their names.
        with_scores: whether the source holds predictions, each with a score, or labels.
        category_ids: is asked for COCO results with several categories: which of them are faces; empty: not known.
    """

    split: str | None = None
    images: Path | None = None
    classes: tuple[str, ...] = ()
    with_scores: bool = False
    category_ids: Callable[[], Sequence[int | str]] = tuple


@dataclass(frozen=True)
class SourceHead:
    """The beginning of a source, by which its format is told."""

    path: Path

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @cached_property
    def head(self) -> bytes:
        """The first 64 KB of a file (unpacked), without byte order mark and leading spaces; nothing of a folder."""
        return b"" if self.is_folder else read_head(self.path)

    @cached_property
    def lines(self) -> list[str]:
        """The first lines of a text file, at least one; bytes that are not UTF-8 are replaced."""
        return self.head[:4096].decode("utf-8", errors="replace").splitlines()[:5] or [""]

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The first files in a folder and below it that are no images."""
        if not self.is_folder:
            return ()
        found = islice(walk_files(self.path), _MAX_ENTRIES)
        return tuple(file for file in found if not is_image(file.name))

    def files_with(self, suffix: str) -> list[Path]:
        """Those of the files that have the ending."""
        return [file for file in self.files if file.name.lower().endswith(suffix)]

    def heads_with(self, suffix: str) -> Iterator[bytes]:
        """How a few of them begin, of those that can be read and begin as JSON or XML does."""
        heads = map(try_read_head, self.files_with(suffix)[:_MAX_PROBED])
        return islice((head for head in heads if head.startswith((b"{", b"<"))), _NUM_HEADS)


def begins(pattern: bytes, *, suffix: str = "") -> Callable[[SourceHead], bool]:
    """Tells a format by a pattern that its files begin with; with a suffix also a folder that has such files."""

    def recognizes(source: SourceHead) -> bool:
        """Whether a source is of the format."""
        heads = source.heads_with(suffix) if source.is_folder and suffix else [source.head]
        return any(re.match(pattern, head, re.DOTALL) for head in heads)

    return recognizes


class LabelReader(NamedTuple):
    """One format.

    Attributes:
        title: its name, in the user's words.
        layout: what a source of it holds.
        recognizes: whether a source of labels is of this format, by its beginning.
        read: reads a source; raises LabelFormatError with the place.
    """

    title: str
    layout: str
    recognizes: Callable[[SourceHead], bool]
    read: Callable[[Path, ReadingOptions], FaceTable]


def choose_split(found: Sequence[str], wanted: str | None, path: Path) -> str:
    """The wanted part of a data set, or the only one.

    Raises:
        LabelFormatError: the wanted one is not in it, or it has several.
    """
    if wanted is None and len(found) == 1:
        return found[0]
    if wanted is not None and wanted in found:
        return wanted
    problem = f"no {wanted} part" if wanted else "several parts"
    raise LabelFormatError(f"{path}: {problem}; choose with --split, one of: {', '.join(found) or 'none found'}")


class Face(NamedTuple):
    """A face of a file.

    Attributes:
        box: its corners.
        points: nothing, or five points in the order of LANDMARK_NAMES, None where missing.
        score: of predictions.
        ignore: whether it is neither positive nor background.
        attributes: further values by their names.
        line: in its file, from 1; 0 where that has no lines.
    """

    box: Sequence[float]
    points: Sequence[Point | None] = ()
    score: float = 0.0
    ignore: bool = False
    attributes: Mapping[str, float] = {}
    line: int = 0


class TableBuilder:
    """Gathers images and their faces one by one; a face belongs to the image that was added last."""

    def __init__(self, options: ReadingOptions | None = None) -> None:
        self._with_scores = options is not None and options.with_scores
        self._images: list[tuple[str, Path, tuple[int, int], int | str]] = []
        self._num_faces: list[int] = []
        self._faces: list[Face] = []
        self._findings: dict[tuple[str, Action], Finding] = {}
        self._first_error: LabelFormatError | None = None
        self._num_broken = 0
        self._has_read_file = False

    @contextmanager
    def label_file(self) -> Iterator[None]:
        """Reads one label file of a set that has a file an image; a broken one is left out and counted.

        What the block has added goes again. Broken predictions are an error, and labels if no file of them can be read.
        """
        num_images, num_faces, findings = len(self._images), len(self._faces), dict(self._findings)
        try:
            yield
            self._has_read_file |= len(self._images) > num_images
        except LabelFormatError as error:
            if self._with_scores:
                raise
            del self._images[num_images:], self._num_faces[num_images:], self._faces[num_faces:]
            self._findings = findings
            self.note("label file that cannot be read, left out with its image", "dropped", str(error))
            self._first_error = self._first_error or error
            self._num_broken += 1

    def check_any_read(self) -> None:
        """Raises LabelFormatError if label files were left out and none was read."""
        if self._first_error is None or self._has_read_file:
            return
        more = f"; none of the {self._num_broken:,} label files can be read" if self._num_broken > 1 else ""
        raise LabelFormatError(f"{self._first_error}{more}")

    def add_image(self, name: str, source: Path, *, size: tuple[int, int] = (0, 0), image_id: int | str = "") -> None:
        """Adds an image that was read from a file; its size is (height, width), 0 where unknown."""
        self._images.append((name, source, size, image_id))
        self._num_faces.append(0)

    def add_face(self, face: Face) -> None:
        """Adds a face of the image that was added last."""
        self._faces.append(face)
        self._num_faces[-1] += 1

    def note(self, reason: str, action: Action, place: str) -> None:
        """Counts one fault at one place."""
        known = self._findings.get((reason, action), Finding(reason, action, 0, ()))
        examples = known.examples if len(known.examples) == MAX_EXAMPLES else (*known.examples, place)
        self._findings[reason, action] = Finding(reason, action, known.count + 1, examples)

    def build(self, **others: Any) -> FaceTable:
        """The table of all that was added, with further attributes of it.

        Raises:
            LabelFormatError: see check_any_read.
        """
        self.check_any_read()
        faces, n = self._faces, len(self._faces)
        landmarks, has_landmarks = np.full((n, NUM_LANDMARKS, 2), np.nan), np.zeros((n, NUM_LANDMARKS), np.bool_)
        known = [(i, k, point) for i, face in enumerate(faces) for k, point in enumerate(face.points) if point]
        if known:
            rows, columns, points = zip(*known, strict=True)
            landmarks[rows, columns], has_landmarks[rows, columns] = points, True
        names = dict.fromkeys(name for face in faces for name in face.attributes)
        ids = [image_id for *_, image_id in self._images]
        return FaceTable.from_boxes(
            [name for name, *_ in self._images],
            self._num_faces,
            np.array([face.box for face in faces], np.float64),
            landmarks=landmarks,
            has_landmarks=has_landmarks,
            ignore=[face.ignore for face in faces],
            scores=[face.score for face in faces] if self._with_scores else None,
            image_sizes=[size for _, _, size, _ in self._images],
            image_ids=None if "" in ids or not ids else ids,
            sources=[source for _, source, _, _ in self._images],
            lines=[face.line for face in faces],
            attributes={name: [face.attributes.get(name, np.nan) for face in faces] for name in names},
            findings=tuple(self._findings.values()),
            **others,
        )
