"""`retinaface visualize`: draws true and detected faces on images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console

from retinaface_cli.commands.console import say, say_failures, track
from retinaface_cli.data.pixel_budget import PixelBudget, promised_pixels
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.sources import Shard, Source, find_sources
from retinaface_cli.errors import RetinaFaceError, SettingsError, count_of, shown, some_of
from retinaface_cli.faces import FaceDetections, FaceLabels, RgbImage
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.files.listing import Problem
from retinaface_cli.files.manifest import real_path
from retinaface_cli.files.outputs import Mode, OutputFolder
from retinaface_cli.formats import FaceTable, read_labels_with_own_names, read_predictions
from retinaface_cli.formats.images import pair_names
from retinaface_cli.process import num_cores
from retinaface_cli.settings.visualization import VisualizeSettings
from retinaface_cli.visualization.anonymization import anonymize_faces
from retinaface_cli.visualization.drawing import (
    CLASSIC_STYLE,
    LABEL_STYLE,
    OUTER_LABEL_STYLE,
    PREDICTION_STYLE,
    DrawStyle,
    draw_faces,
)
from retinaface_cli.visualization.image_files import encode_image
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink

_Faces = TypeVar("_Faces", FaceLabels, FaceDetections)

RUNS_FOLDER = Path("runs/visualize")

_MAX_WORKERS = 8
_SHEET_WIDTH = 2000
_MIN_CELL_WIDTH, _MAX_CELL_WIDTH = 160, 640


@dataclass(frozen=True)
class DrawnImage:
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


class DrawingJob(NamedTuple):
    """A file to write: one image, or a sheet of several."""

    path: Path
    images: tuple[DrawnImage, ...]


class _Outcome(NamedTuple):
    """What became of a job's images."""

    drawn: tuple[DrawnImage, ...]
    failures: tuple[Problem, ...]


@dataclass(frozen=True)
class VisualizeReport:
    """How a run went.

    Attributes:
        output: the folder with the drawn images.
        num_images: images that were drawn.
        num_labels: true faces on them.
        num_predictions: detected faces on them.
        failures: images that could not be read or written.
    """

    output: Path
    num_images: int
    num_labels: int
    num_predictions: int
    failures: tuple[Problem, ...]

    def describe(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "folder": str(self.output),
            "num_images": self.num_images,
            "num_labels": self.num_labels,
            "num_predictions": self.num_predictions,
            "failures": [failure._asdict() for failure in self.failures],
        }

    @property
    def exit_code(self) -> int:
        """0 if any image was drawn, else 1."""
        return 0 if self.num_images else 1


def run(settings: VisualizeSettings, *, console: Console | None = None) -> VisualizeReport:
    """Runs the whole workflow.

    Raises:
        RetinaFaceError: no images, labels or predictions that cannot be read or name none of the images, or an output
            folder that cannot be used.
    """
    console = console or Console(stderr=True)
    images = _collect_images(settings, console)
    inputs = [image.source.path for image in images]
    inputs += [path for path in (settings.labels, settings.predictions) if path is not None]
    if settings.output is not None:
        _check_no_original(settings.output, images, settings.images)
    root = settings.output or next_run_folder(RUNS_FOLDER)
    identity = settings.model_dump(mode="json", exclude={"output", "overwrite", "num_workers"})
    mode: Mode = "overwrite" if settings.overwrite else "new"
    with OutputFolder.open(root, identity=identity, mode=mode, can_resume=False, protect=inputs) as output:
        if output.changed:
            say(console, f"{some_of(output.changed)}: changed since they were drawn, and left as they are")
        outcomes = _run_jobs(_plan_jobs(settings, images, output), output, settings, console)
    drawn = [image for outcome in outcomes for image in outcome.drawn]
    report = VisualizeReport(
        output=root,
        num_images=len(drawn),
        num_labels=sum(len(image.labels) for image in drawn if image.labels is not None),
        num_predictions=sum(len(image.predictions) for image in drawn if image.predictions is not None),
        failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
    )
    _print_summary(report, settings, console)
    return report


def _collect_images(settings: VisualizeSettings, console: Console) -> list[DrawnImage]:
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
        folder = Path(settings.images[0])
        images = folder if len(settings.images) == 1 and folder.is_dir() else None
        table = read_labels_with_own_names(settings.labels, format_name=settings.labels_format, images=images)
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
        DrawnImage(*image)
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


def draw_image(one_image: DrawnImage, settings: VisualizeSettings, *, max_side: int | None = None) -> RgbImage:
    """Reads an image and draws its faces.

    Args:
        one_image: the image and its faces.
        settings: the style.
        max_side: length in pixels to which a larger image is shrunk before drawing; None: it keeps its size.

    Raises:
        ImageReadError: the image cannot be read.
    """
    image = load_rgb(one_image.source.path)
    present = one_image.present
    if max_side is not None:
        image, factor = shrink(image, max_side)
        present = tuple(scale_faces(faces, factor) for faces in present)
    if settings.anonymize is not None:
        image = anonymize_faces(image, np.concatenate([faces.boxes for faces in present]), method=settings.anonymize)
    if settings.draws_faces:
        for faces in present:
            image = draw_faces(image, faces, style=_choose_style(faces, settings))
    return image


def _choose_style(faces: FaceLabels | FaceDetections, settings: VisualizeSettings) -> DrawStyle:
    """The style of faces; labels lie around predictions where both are asked for, and keep their color beside them."""
    is_outer = isinstance(faces, FaceLabels) and settings.predictions is not None
    style = OUTER_LABEL_STYLE if is_outer else LABEL_STYLE if isinstance(faces, FaceLabels) else PREDICTION_STYLE
    if settings.style == "classic":
        style = replace(CLASSIC_STYLE, color=LABEL_STYLE.color, is_outer=True) if is_outer else CLASSIC_STYLE
    return replace(
        style,
        has_scores=style.has_scores and settings.scores,
        has_landmarks=style.has_landmarks and settings.landmarks,
    )


def _plan_jobs(settings: VisualizeSettings, images: Sequence[DrawnImage], output: OutputFolder) -> list[DrawingJob]:
    """One job an image, or one a sheet."""
    suffix = f".{settings.format}"
    if settings.grid is None:
        return [
            DrawingJob(output.path("", image.source.name, suffix=suffix, keep_suffix=True), (image,))
            for image in images
        ]
    size = settings.grid**2
    sheets = [tuple(images[start : start + size]) for start in range(0, len(images), size)]
    return [DrawingJob(output.root / f"sheet_{number:03d}{suffix}", sheet) for number, sheet in enumerate(sheets, 1)]


def _check_no_original(root: Path, images: Sequence[DrawnImage], inputs: Sequence[str]) -> None:
    """Raises SettingsError where drawings would lie among the images that they are made of."""
    folder = real_path(root)
    around = next((name for name in inputs if real_path(Path(name)) == folder), None)
    inside = next((i.source.path for i in images if real_path(i.source.path.parent) == folder), around)
    if inside is not None:
        raise SettingsError(f"{shown(root)}: holds originals ({shown(inside)}); name another folder with --output")


def _run_jobs(
    jobs: Sequence[DrawingJob], output: OutputFolder, settings: VisualizeSettings, console: Console
) -> list[_Outcome]:
    """Runs the jobs in threads (reading, drawing and writing all leave Python's lock)."""
    budget = PixelBudget()

    def run_job(job: DrawingJob) -> _Outcome:
        """Draws a job's images as soon as there is room for their pixels."""
        with budget.hold(max(promised_pixels(one_image.source) for one_image in job.images)):
            return _draw_job(job, output, settings)

    with ThreadPoolExecutor(settings.num_workers or min(num_cores(), _MAX_WORKERS)) as pool:
        try:
            return list(track(console, "drawing", pool.map(run_job, jobs), total=len(jobs)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _draw_job(job: DrawingJob, output: OutputFolder, settings: VisualizeSettings) -> _Outcome:
    """Draws a job's images and writes its file; what cannot be drawn is reported, not raised."""
    cell_width = None
    if settings.grid is not None:
        cell_width = max(_MIN_CELL_WIDTH, min(_MAX_CELL_WIDTH, _SHEET_WIDTH // settings.grid))
    images: list[RgbImage] = []
    drawn: list[DrawnImage] = []
    failures: list[Problem] = []
    for one_image in job.images:
        try:
            images.append(draw_image(one_image, settings, max_side=cell_width))
            drawn.append(one_image)
        except RetinaFaceError as error:
            failures.append(Problem(one_image.source.name, str(error)))
    if not drawn:
        return _Outcome((), tuple(failures))
    try:
        canvas = images[0]
        if cell_width is not None:
            captions = [_caption(one_image) for one_image in drawn]
            canvas = contact_sheet(images, captions=captions, num_columns=settings.grid or 1, cell_width=cell_width)
        output.write_bytes(job.path, encode_image(job.path, canvas))
    except RetinaFaceError as error:
        failures += [Problem(one_image.source.name, str(error)) for one_image in drawn]
        drawn = []
    return _Outcome(tuple(drawn), tuple(failures))


def _caption(image: DrawnImage) -> str:
    """The image's name and how many faces of each kind are on it."""
    parts = [shown(image.source.name)]
    if image.labels is not None:
        parts.append(count_of(len(image.labels), "label"))
    if image.predictions is not None:
        parts.append(count_of(len(image.predictions), "prediction"))
    return " · ".join(parts)


def _print_summary(report: VisualizeReport, settings: VisualizeSettings, console: Console) -> None:
    counts = [count_of(report.num_images, "image")]
    if settings.labels is not None:
        counts.append(count_of(report.num_labels, "label"))
    if settings.predictions is not None:
        counts.append(count_of(report.num_predictions, "prediction"))
    say(console, ", ".join(counts) + f" -> {report.output}")
    if settings.draws_faces and settings.style == "clear":
        legend = {
            "labels blue, ignored ones dashed": settings.labels is not None,
            "predictions orange": settings.predictions is not None,
        }
        say(console, "; ".join(itertools.compress(legend, legend.values())))
    say_failures(console, f"{count_of(len(report.failures), 'image')} could not be drawn:", report.failures)
