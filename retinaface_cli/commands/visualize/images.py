"""Which images `visualize` draws on, and which entries of the label and prediction files belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from retinaface_cli.commands.console import say, say_failures, some_of
from retinaface_cli.data.sources import Shard, Source, find_sources
from retinaface_cli.errors import LabelFormatError, SettingsError, shown
from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.formats import FaceTable, read_labels, read_predictions
from retinaface_cli.formats.images import pair_names
from retinaface_cli.settings.visualization import VisualizeSettings

_Faces = TypeVar("_Faces", FaceLabels, FaceDetections)


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
        """The kinds of faces that are known, labels first."""
        return tuple(faces for faces in (self.labels, self.predictions) if faces is not None)


def collect_images(settings: VisualizeSettings, console: Console) -> list[ImageFaces]:
    """The images that any of the files has an entry for, in input order; says what is left out.

    Raises:
        RetinaFaceError: no images, or labels or predictions that cannot be read or name none of the images.
    """
    listing = find_sources(settings.images)
    inputs = listing.sources
    say_failures(console, f"{len(listing.problems)} inputs cannot be used:", listing.problems)
    shards = [source for source in inputs if isinstance(source, Shard)]
    sources = [source for source in inputs if not source.is_video and not isinstance(source, Shard)]
    for kind, number in (("videos", len(inputs) - len(sources) - len(shards)), ("shards", len(shards))):
        if number:
            say(console, f"{kind} are left out ({number}); infer --visualize draws on them")
    labels: Sequence[FaceLabels | None] = [None] * len(sources)
    predictions: Sequence[FaceDetections | None] = [None] * len(sources)
    names_of_ids: dict[int | str, str] = {}
    if settings.labels is not None:
        table = _read_labels(settings.labels, settings)
        names_of_ids = dict(zip(table.image_ids or (), table.file_names, strict=False))
        labels = _assign(sources, table.file_names, table.labels(), settings.labels, console)
        for finding in table.findings:
            say(console, f"{settings.labels}: {finding.describe()}")
    if settings.predictions is not None:
        table = read_predictions(settings.predictions)
        names = table.file_names
        if names_of_ids and table.image_ids is not None:
            names = [names_of_ids.get(identity, "") for identity in table.image_ids]
        table = _strong_faces(table, settings, console)
        predictions = _assign(sources, names, table.detections(), settings.predictions, console)
    return [
        ImageFaces(*image)
        for image in zip(sources, labels, predictions, strict=True)
        if image[1] is not None or image[2] is not None
    ]


def match_entries(sources: Sequence[Source], names: Sequence[str]) -> list[int | None]:
    """Finds for each image the entry that means it.

    An entry means an image if it names its path relative to the input root. What is left is matched by pair_names with
    the images' full paths, the longest entry first.

    Args:
        sources: the images.
        names: of the entries, with forward slashes.

    Returns:
        For each image the index of its entry; None where it has none.
    """
    by_name = {name: index for index, name in enumerate(names)}
    matches = [by_name.get(source.name) for source in sources]
    open_images = [index for index, match in enumerate(matches) if match is None]
    open_entries = sorted(set(range(len(names))).difference(matches), key=lambda i: (-len(names[i]), i))
    paths = [sources[index].path.absolute().as_posix().lstrip("/") for index in open_images]
    for entry, found in zip(open_entries, pair_names([names[i] for i in open_entries], paths), strict=True):
        if found is not None and matches[open_images[found]] is None:
            matches[open_images[found]] = entry
    return matches


def _read_labels(path: Path, settings: VisualizeSettings) -> FaceTable:
    """Reads labels; where they cannot be understood without images (YOLO), with those of the input folder."""
    try:
        return read_labels(path, format_name=settings.labels_format)
    except LabelFormatError:
        folder = Path(settings.images[0])
        if len(settings.images) > 1 or not folder.is_dir():
            raise
        return read_labels(path, format_name=settings.labels_format, images=folder)


def _strong_faces(table: FaceTable, settings: VisualizeSettings, console: Console) -> FaceTable:
    """The predictions that score enough; says how many do not."""
    if table.scores is None:
        return table
    is_strong = table.scores >= settings.min_score
    if not is_strong.all():
        num_weak = int((~is_strong).sum())
        say(console, f"{num_weak:,} predictions under {settings.min_score:g} are left out (--min-score)")
    return table.select_faces(is_strong)


def _assign(
    sources: Sequence[Source], names: Sequence[str], faces: Sequence[_Faces], path: Path, console: Console
) -> list[_Faces | None]:
    """Each image's faces in a file; says which have none.

    Raises:
        SettingsError: none has.
    """
    matches = match_entries(sources, names)
    missing = [source.name for source, match in zip(sources, matches, strict=True) if match is None]
    if len(missing) == len(sources):
        images = f"the images are {some_of(missing)}; " if missing else ""
        raise SettingsError(
            f"{shown(path)}: has no entry for any of the {len(sources)} images: {images}its entries are "
            f"{some_of(names) or 'none'}. They must name images relative to the folder that is given, or by the end of "
            "their full path"
        )
    if missing:
        say(console, f"{len(missing)} of {len(sources)} images have no entry in {path}: {some_of(missing)}")
    return [None if match is None else faces[match] for match in matches]
