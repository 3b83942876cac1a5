"""`retinaface visualize`: draws true and detected faces on images."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from retinaface_cli.commands.console import say, say_failures, some_of, track
from retinaface_cli.commands.visualize.images import ImageFaces, collect_images
from retinaface_cli.data.pixel_budget import PixelBudget, promised_pixels
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.errors import RetinaFaceError, SettingsError, count_of, shown
from retinaface_cli.faces import FaceDetections, FaceLabels, RgbImage
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.files.manifest import real_path
from retinaface_cli.files.outputs import Mode, OutputFolder
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

RUNS_FOLDER = Path("runs/visualize")

_MAX_WORKERS = 8
_SHEET_WIDTH = 2000
_MIN_CELL_WIDTH, _MAX_CELL_WIDTH = 160, 640


class DrawingJob(NamedTuple):
    """A file to write: one image, or a sheet of several."""

    path: Path
    images: tuple[ImageFaces, ...]


class Failure(NamedTuple):
    """An image that could not be drawn, and why."""

    name: str
    reason: str


class _Outcome(NamedTuple):
    """What became of a job's images."""

    drawn: tuple[ImageFaces, ...]
    failures: tuple[Failure, ...]


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
    failures: tuple[Failure, ...]

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
    images = collect_images(settings, console)
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


def draw_image(one_image: ImageFaces, settings: VisualizeSettings, *, max_side: int | None = None) -> RgbImage:
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


def _plan_jobs(settings: VisualizeSettings, images: Sequence[ImageFaces], output: OutputFolder) -> list[DrawingJob]:
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


def _check_no_original(root: Path, images: Sequence[ImageFaces], inputs: Sequence[str]) -> None:
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
    with ThreadPoolExecutor(settings.num_workers or min(os.cpu_count() or 1, _MAX_WORKERS)) as pool:
        try:
            budget = PixelBudget()
            results = pool.map(partial(_run_job, output=output, settings=settings, budget=budget), jobs)
            return list(track(console, "drawing", results, total=len(jobs)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run_job(job: DrawingJob, *, output: OutputFolder, settings: VisualizeSettings, budget: PixelBudget) -> _Outcome:
    """Draws a job's images and writes its file; what cannot be drawn is reported, not raised."""
    with budget.hold(max(promised_pixels(one_image.source) for one_image in job.images)):
        return _draw_job(job, output, settings)


def _draw_job(job: DrawingJob, output: OutputFolder, settings: VisualizeSettings) -> _Outcome:
    cell_width = None
    if settings.grid is not None:
        cell_width = max(_MIN_CELL_WIDTH, min(_MAX_CELL_WIDTH, _SHEET_WIDTH // settings.grid))
    images: list[RgbImage] = []
    drawn: list[ImageFaces] = []
    failures: list[Failure] = []
    for one_image in job.images:
        try:
            images.append(draw_image(one_image, settings, max_side=cell_width))
            drawn.append(one_image)
        except RetinaFaceError as error:
            failures.append(Failure(one_image.source.name, str(error)))
    if not drawn:
        return _Outcome((), tuple(failures))
    try:
        canvas = images[0]
        if cell_width is not None:
            captions = [_caption(one_image) for one_image in drawn]
            canvas = contact_sheet(images, captions=captions, num_columns=settings.grid or 1, cell_width=cell_width)
        output.write_bytes(job.path, encode_image(job.path, canvas))
    except RetinaFaceError as error:
        failures += [Failure(one_image.source.name, str(error)) for one_image in drawn]
        drawn = []
    return _Outcome(tuple(drawn), tuple(failures))


def _caption(image: ImageFaces) -> str:
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
