"""Which images `visualize` draws on, and which entries of the label and prediction files belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from rich.console import Console

from retinaface_cli.data.sources import Source, find_sources
from retinaface_cli.errors import LabelFormatError, SettingsError
from retinaface_cli.faces import FaceDetections, FaceLabels, ImageDetections, ImageLabels
from retinaface_cli.formats import FaceTable, read_labels, read_predictions
from retinaface_cli.settings.visualization import VisualizeSettings

_MAX_LISTED = 5

_Entry = TypeVar("_Entry", ImageLabels, ImageDetections)


@dataclass(frozen=True)
class ImageFaces:
    """An image with the faces to draw on it.

    Attributes:
        source: the image.
        labels: true faces; None where no label file was given or it has no entry for the image.
        predictions: detected faces that score enough; None likewise.
    """

    source: Source
    labels: FaceLabels | None
    predictions: FaceDetections | None

    @property
    def present(self) -> tuple[FaceLabels | FaceDetections, ...]:
        """The kinds of faces that there are, labels first."""
        return tuple(faces for faces in (self.labels, self.predictions) if faces is not None)


def collect_images(settings: VisualizeSettings, console: Console) -> list[ImageFaces]:
    """The images that any of the files has an entry for, in input order; says what is left out.

    Raises:
        RetinaFaceError: no images, or labels or predictions that cannot be read or name none of the images.
    """
    inputs = find_sources(settings.images)
    sources = [source for source in inputs if not source.is_video]
    if len(sources) < len(inputs):
        say(console, f"videos are left out ({len(inputs) - len(sources)}); infer --visualize draws on them")
    labels: Sequence[ImageLabels | None] = [None] * len(sources)
    predictions: Sequence[ImageDetections | None] = [None] * len(sources)
    if settings.labels is not None:
        label_set = _read_labels(settings.labels, settings)
        for finding in label_set.findings:
            say(console, f"{settings.labels}: {finding.describe()}")
        labels = _assign(sources, label_set.label_images(), settings.labels, console)
    if settings.predictions is not None:
        predictions = _assign(
            sources, read_predictions(settings.predictions).detection_images(), settings.predictions, console
        )
    num_weak = sum(int((entry.faces.scores < settings.min_score).sum()) for entry in predictions if entry is not None)
    if num_weak:
        say(console, f"{num_weak:,} predictions under {settings.min_score:g} are left out (--min-score)")
    return [
        ImageFaces(
            source,
            None if truth is None else truth.faces,
            None if guess is None else guess.faces.select(np.flatnonzero(guess.faces.scores >= settings.min_score)),
        )
        for source, truth, guess in zip(sources, labels, predictions, strict=True)
        if truth is not None or guess is not None
    ]


def match_entries(sources: Sequence[Source], names: Sequence[str]) -> list[int | None]:
    """Finds for each image the entry that means it.

    An entry means an image if it names its path relative to the input root. What is left is matched by the longest
    entry that the image's full path ends with, then likewise without the ending (older text files have none); an
    entry that would fit several images in this way fits none of them.

    Args:
        sources: the images.
        names: of the entries, with forward slashes.

    Returns:
        For each image the index of its entry; None where there is none.
    """
    by_name = {name: index for index, name in enumerate(names)}
    exact = [by_name.get(source.name) for source in sources]
    taken = {index for index in exact if index is not None}
    by_path = [
        None if found is not None else _find_by_path(source, by_name)
        for source, found in zip(sources, exact, strict=True)
    ]
    claims = Counter(by_path)
    return [
        loose if found is None and loose not in taken and claims[loose] == 1 else found
        for found, loose in zip(exact, by_path, strict=True)
    ]


def say(console: Console, text: str) -> None:
    """Prints a line as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _read_labels(path: Path, settings: VisualizeSettings) -> FaceTable:
    """Reads labels; where they cannot be understood without images (YOLO), with those of the input folder."""
    try:
        return read_labels(path, format_name=settings.labels_format)
    except LabelFormatError:
        folder = Path(settings.images[0])
        if len(settings.images) > 1 or not folder.is_dir():
            raise
        return read_labels(path, format_name=settings.labels_format, images=folder)


def _assign(sources: Sequence[Source], entries: Sequence[_Entry], path: Path, console: Console) -> list[_Entry | None]:
    """Each image's entry in a file; says which have none.

    Raises:
        SettingsError: none has.
    """
    matches = match_entries(sources, [entry.file_name for entry in entries])
    missing = [source.name for source, match in zip(sources, matches, strict=True) if match is None]
    if len(missing) == len(sources):
        names = f"the images are {_listed(missing)}; " if missing else ""
        entry_names = _listed([entry.file_name for entry in entries]) or "none"
        raise SettingsError(
            f"{path}: has no entry for any of the {len(sources)} images: {names}its entries are {entry_names}. "
            "They must name images relative to the folder that is given, or by the end of their full path"
        )
    if missing:
        say(console, f"{len(missing)} of {len(sources)} images have no entry in {path}: {_listed(missing)}")
    return [None if match is None else entries[match] for match in matches]


def _find_by_path(source: Source, by_name: Mapping[str, int]) -> int | None:
    """The entry named by the longest end of the image's full path."""
    path = PurePosixPath(source.path.absolute().as_posix())
    for candidate in (path, path.with_suffix("")):
        found = next((by_name[tail] for tail in _tails(candidate) if tail in by_name), None)
        if found is not None:
            return found
    return None


def _tails(path: PurePosixPath) -> Iterator[str]:
    """The path, then without its first folder, and so on down to the bare name."""
    parts = path.as_posix().lstrip("/").split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
