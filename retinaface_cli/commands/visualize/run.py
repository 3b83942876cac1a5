"""`retinaface visualize`: draws true and detected faces on pictures."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinaface_cli.commands.visualize.images import PictureFaces, collect_pictures, say
from retinaface_cli.data.preprocessing import RgbImage, load_rgb
from retinaface_cli.errors import RetinaFaceError, SettingsError
from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.files import next_run_folder
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
from retinaface_cli.visualization.image_files import output_name, save_image
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink

RUNS_FOLDER = Path("runs/visualize")

_MAX_WORKERS = 8
_MAX_LISTED_FAILURES = 5
_SHEET_WIDTH = 2000
_MIN_CELL_WIDTH, _MAX_CELL_WIDTH = 160, 640


class DrawingJob(NamedTuple):
    """A file to write: one picture, or a sheet of several."""

    path: Path
    pictures: tuple[PictureFaces, ...]


class Failure(NamedTuple):
    """A picture that could not be drawn, and why."""

    name: str
    reason: str


class _Outcome(NamedTuple):
    """What became of a job's pictures."""

    drawn: tuple[PictureFaces, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class VisualizeReport:
    """How a run went.

    Attributes:
        output: the folder with the drawn pictures.
        num_pictures: pictures that were drawn.
        num_labels: true faces on them.
        num_predictions: detected faces on them.
        failures: pictures that could not be read or written.
    """

    output: Path
    num_pictures: int
    num_labels: int
    num_predictions: int
    failures: tuple[Failure, ...]

    @property
    def exit_code(self) -> int:
        """0 if any picture was drawn, else 1."""
        return 0 if self.num_pictures else 1


def run(settings: VisualizeSettings, *, console: Console | None = None) -> VisualizeReport:
    """Runs the whole workflow.

    Raises:
        RetinaFaceError: no pictures, labels or predictions that cannot be read or name none of the pictures, or files
            in the way of the drawn pictures.
    """
    console = console or Console(stderr=True)
    pictures = collect_pictures(settings, console)
    if settings.output is not None:
        _check_targets(_plan_jobs(settings, pictures, settings.output), overwrite=settings.overwrite)
    output = settings.output or next_run_folder(RUNS_FOLDER)
    outcomes = _run_jobs(_plan_jobs(settings, pictures, output), settings, console)
    drawn = [picture for outcome in outcomes for picture in outcome.drawn]
    report = VisualizeReport(
        output=output,
        num_pictures=len(drawn),
        num_labels=sum(len(picture.labels) for picture in drawn if picture.labels is not None),
        num_predictions=sum(len(picture.predictions) for picture in drawn if picture.predictions is not None),
        failures=tuple(failure for outcome in outcomes for failure in outcome.failures),
    )
    _print_summary(report, settings, console)
    return report


def draw_picture(picture: PictureFaces, settings: VisualizeSettings, *, max_side: int | None = None) -> RgbImage:
    """Reads a picture and draws its faces.

    Args:
        picture: the picture and its faces.
        settings: how they look.
        max_side: length in pixels to which a larger picture is shrunk before drawing; None: it keeps its size.

    Raises:
        ImageReadError: the picture cannot be read.
    """
    image = load_rgb(picture.source.path)
    present = picture.present
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
    """How faces look; labels lie around predictions where both are asked for, and keep their color beside them."""
    is_outer = isinstance(faces, FaceLabels) and settings.predictions is not None
    style = OUTER_LABEL_STYLE if is_outer else LABEL_STYLE if isinstance(faces, FaceLabels) else PREDICTION_STYLE
    if settings.style == "classic":
        style = replace(CLASSIC_STYLE, color=LABEL_STYLE.color, is_outer=True) if is_outer else CLASSIC_STYLE
    return replace(
        style,
        has_scores=style.has_scores and settings.scores,
        has_landmarks=style.has_landmarks and settings.landmarks,
    )


def _plan_jobs(settings: VisualizeSettings, pictures: Sequence[PictureFaces], output: Path) -> list[DrawingJob]:
    """One job a picture, or one a sheet."""
    suffix = f".{settings.format}"
    if settings.grid is None:
        return [DrawingJob(output / output_name(picture.source.name, suffix), (picture,)) for picture in pictures]
    size = settings.grid**2
    sheets = [tuple(pictures[start : start + size]) for start in range(0, len(pictures), size)]
    return [DrawingJob(output / f"sheet_{number:03d}{suffix}", sheet) for number, sheet in enumerate(sheets, 1)]


def _check_targets(jobs: Sequence[DrawingJob], *, overwrite: bool) -> None:
    """Sees to it that nothing is lost.

    Raises:
        SettingsError: a drawn picture would replace the picture that it is drawn from, or another file unasked.
    """
    originals = {picture.source.path.resolve() for job in jobs for picture in job.pictures}
    for job in jobs:
        if job.path.resolve() in originals:
            raise SettingsError(f"{job.path}: would replace an original picture; name another folder with --output")
        if job.path.exists() and not overwrite:
            raise SettingsError(f"{job.path}: exists already; --overwrite to replace it, or another --output")


def _run_jobs(jobs: Sequence[DrawingJob], settings: VisualizeSettings, console: Console) -> list[_Outcome]:
    """Runs the jobs in threads (reading, drawing and writing all leave Python's lock)."""
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    num_workers = settings.num_workers or min(os.cpu_count() or 1, _MAX_WORKERS)
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(num_workers) as pool,
    ):
        try:
            results = pool.map(partial(_run_job, settings=settings), jobs)
            return list(progress.track(results, total=len(jobs)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run_job(job: DrawingJob, settings: VisualizeSettings) -> _Outcome:
    """Draws a job's pictures and writes its file; what cannot be drawn is reported, not raised."""
    cell_width = None
    if settings.grid is not None:
        cell_width = max(_MIN_CELL_WIDTH, min(_MAX_CELL_WIDTH, _SHEET_WIDTH // settings.grid))
    images: list[RgbImage] = []
    drawn: list[PictureFaces] = []
    failures: list[Failure] = []
    for picture in job.pictures:
        try:
            images.append(draw_picture(picture, settings, max_side=cell_width))
            drawn.append(picture)
        except RetinaFaceError as error:
            failures.append(Failure(picture.source.name, str(error)))
    try:
        if drawn and cell_width is None:
            save_image(job.path, images[0])
        elif drawn and cell_width is not None:
            captions = [_caption(picture) for picture in drawn]
            sheet = contact_sheet(images, captions=captions, num_columns=settings.grid or 1, cell_width=cell_width)
            save_image(job.path, sheet)
    except RetinaFaceError as error:
        failures += [Failure(picture.source.name, str(error)) for picture in drawn]
        drawn = []
    return _Outcome(tuple(drawn), tuple(failures))


def _caption(picture: PictureFaces) -> str:
    """The picture's name and how many faces of each kind are on it."""
    parts = [picture.source.name]
    if picture.labels is not None:
        parts.append(_count(len(picture.labels), "label"))
    if picture.predictions is not None:
        parts.append(_count(len(picture.predictions), "prediction"))
    return " · ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _print_summary(report: VisualizeReport, settings: VisualizeSettings, console: Console) -> None:
    counts = [_count(report.num_pictures, "picture")]
    if settings.labels is not None:
        counts.append(_count(report.num_labels, "label"))
    if settings.predictions is not None:
        counts.append(_count(report.num_predictions, "prediction"))
    say(console, ", ".join(counts) + f" -> {report.output}")
    if settings.draws_faces and settings.style == "clear":
        legend = {
            "labels blue, ignored ones dashed": settings.labels is not None,
            "predictions orange": settings.predictions is not None,
        }
        say(console, "; ".join(itertools.compress(legend, legend.values())))
    if report.failures:
        say(console, f"{_count(len(report.failures), 'picture')} could not be drawn:")
        for failure in report.failures[:_MAX_LISTED_FAILURES]:
            say(console, f"  {failure.name}: {failure.reason}")
