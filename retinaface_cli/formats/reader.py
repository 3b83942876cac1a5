"""What every reader has in common: its interface, the beginning of a source, and gathering faces one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.files.listing import IMAGE_SUFFIXES, FoundFile, walk_folder
from retinaface_cli.formats.table import Action, FaceTable, Finding, merge_findings
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


def walk_images(folder: Path) -> Iterator[Path]:
    """The images of a folder and all below it in natural order."""
    return walk_files(folder, *IMAGE_SUFFIXES)


def is_image(name: str) -> bool:
    """Whether a name ends as an image's does."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def exists(path: Path) -> bool:
    """Whether a path that a file names exists; one that no file can have does not."""
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

    def heads_with(self, suffix: str, start: bytes) -> Iterator[bytes]:
        """How a few of them begin, of those that can be read and begin as such a file does."""
        heads = map(try_read_head, self.files_with(suffix)[:_MAX_PROBED])
        return islice((head for head in heads if head.startswith(start)), _NUM_HEADS)


@dataclass(frozen=True)
class LabelReader:
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


class TableBuilder:
    """Gathers images and their faces one by one; a face belongs to the image that was added last."""

    def __init__(self, options: ReadingOptions | None = None) -> None:
        self._with_scores = options is not None and options.with_scores
        self._images: list[tuple[str, Path, tuple[int, int], int | str]] = []
        self._num_faces: list[int] = []
        self._boxes: list[Sequence[float]] = []
        self._points: list[tuple[int, int, Point]] = []
        self._scores: list[float] = []
        self._ignore: list[bool] = []
        self._lines: list[int] = []
        self._attributes: dict[str, dict[int, float]] = {}
        self._findings: list[Finding] = []
        self._first_error: LabelFormatError | None = None
        self._num_broken = 0
        self._has_read_file = False

    @contextmanager
    def label_file(self) -> Iterator[None]:
        """Reads one label file of a set that has a file an image; a broken one is left out and counted.

        What the block has added goes again. Broken predictions are an error, and labels if no file of them can be read.
        """
        of_images: tuple[list[Any], ...] = (self._images, self._num_faces)
        of_faces: tuple[list[Any], ...] = (self._boxes, self._points, self._scores, self._ignore, self._lines)
        lists = of_images + of_faces
        lengths = [len(values) for values in lists]
        earlier, self._findings = self._findings, []
        try:
            yield
        except LabelFormatError as error:
            if self._with_scores:
                raise
            for values in self._attributes.values():
                for face in range(lengths[2], len(self._boxes)):
                    values.pop(face, None)
            self._attributes = {name: values for name, values in self._attributes.items() if values}
            for gathered, length in zip(lists, lengths, strict=True):
                del gathered[length:]
            reason = "label file that cannot be read, left out with its image"
            self._findings = [Finding(reason, "dropped", 1, (str(error),))]
            self._first_error = self._first_error or error
            self._num_broken += 1
        self._has_read_file |= len(self._images) > lengths[0]
        self._findings = _merge_many(earlier + self._findings)

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

    def add_face(
        self,
        box: Sequence[float],
        points: Sequence[Point | None] = (),
        *,
        score: float = 0.0,
        ignore: bool = False,
        attributes: Mapping[str, float] | None = None,
        line: int = 0,
    ) -> None:
        """Adds a face: its corners, and nothing or five points in the order of LANDMARK_NAMES, None where missing."""
        face = len(self._boxes)
        self._boxes.append(box)
        self._points += [(face, k, point) for k, point in enumerate(points) if point is not None]
        self._scores.append(score)
        self._ignore.append(ignore)
        self._lines.append(line)
        for name, value in (attributes or {}).items():
            self._attributes.setdefault(name, {})[face] = value
        self._num_faces[-1] += 1

    def note(self, reason: str, action: Action, place: str) -> None:
        """Counts one fault at one place."""
        self._findings.append(Finding(reason, action, 1, (place,)))
        self._findings = _merge_many(self._findings)

    def build(
        self,
        format_name: str,
        *,
        boxes_are_corners: bool = True,
        is_order_known: bool = True,
        image_root: Path | None = None,
    ) -> FaceTable:
        """The table of all that was added.

        Raises:
            LabelFormatError: see check_any_read.
        """
        self.check_any_read()
        n = len(self._boxes)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found by the checks
            boxes = np.array(self._boxes, np.float64).reshape(-1, 4).astype(np.float32)
            landmarks = np.full((n, NUM_LANDMARKS, 2), np.nan, np.float32)
            has_landmarks = np.zeros((n, NUM_LANDMARKS), np.bool_)
            if self._points:
                faces, columns, points = zip(*self._points, strict=True)
                landmarks[list(faces), list(columns)] = np.array(points, np.float64)
                has_landmarks[list(faces), list(columns)] = True
            attributes = {}
            for name, values in self._attributes.items():
                attributes[name] = np.full(n, np.nan, np.float32)
                attributes[name][list(values)] = np.array(list(values.values()), np.float64)
        table = FaceTable.from_boxes([image[0] for image in self._images], self._num_faces, boxes)
        ids = [image[3] for image in self._images]
        return replace(
            table,
            landmarks=landmarks,
            has_landmarks=has_landmarks,
            ignore=np.array(self._ignore, np.bool_),
            scores=np.array(self._scores, np.float32) if self._with_scores else None,
            image_sizes=np.array([image[2] for image in self._images], np.intp).reshape(-1, 2),
            image_ids=None if "" in ids or not ids else ids,
            sources=[image[1] for image in self._images],
            lines=np.array(self._lines, np.intp),
            attributes=attributes,
            format_name=format_name,
            boxes_are_corners=boxes_are_corners,
            is_order_known=is_order_known,
            image_root=image_root,
            findings=merge_findings(self._findings),
        )


def _merge_many(findings: list[Finding]) -> list[Finding]:
    """The findings, added up where they are many."""
    return list(merge_findings(findings)) if len(findings) > 1000 else findings
