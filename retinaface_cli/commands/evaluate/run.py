"""`retinaface evaluate`: scores predictions, or detects and scores in one go."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from retinaface_cli.commands.console import listed, results_of, say
from retinaface_cli.commands.evaluate.predictions import Candidate, make_candidate, read_run_file
from retinaface_cli.commands.evaluate.process import SideTask
from retinaface_cli.commands.evaluate.report import draw_curves, make_report
from retinaface_cli.commands.evaluate.scores import Scores, choose_protocols, find_worst, start_scores
from retinaface_cli.commands.evaluate.tables import print_scores
from retinaface_cli.commands.evaluate.truth import GroundTruth, locate_images, read_truth
from retinaface_cli.commands.loading import loading
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, LabelFormatError, OutputError, SettingsError, shown
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.files.manifest import Manifest
from retinaface_cli.files.outputs import Mode, OutputFolder
from retinaface_cli.formats import read_predictions
from retinaface_cli.settings.evaluation import EvaluateSettings, detection_settings
from retinaface_cli.training.run_folder import is_first_process

RUNS_FOLDER = Path("runs/evaluate")
REPORT_FILE = "report.json"
CURVE_FILE = "pr_curve.png"
PAGE_FILE = "report.html"
WORST_FILE = "worst.jpg"
DETECTIONS_FOLDER = "detections"

_MIN_SHOWN = 24
"""Images on the page, those with most mistakes first, where there are that many."""


@dataclass(frozen=True, eq=False)
class EvaluateReport:
    """What was scored, in which folder the results are, and the content of report.json."""

    output: Path
    scores: tuple[Scores, ...]
    content: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Material:
    """What is scored: labels, predictions, and the images by name, where they are needed."""

    truth: GroundTruth
    candidates: tuple[Candidate, ...]
    sources: Mapping[str, Source]


def run(settings: EvaluateSettings, *, console: Console | None = None) -> EvaluateReport | None:
    """Runs the whole workflow; the table goes to standard output.

    Args:
        settings: what to score.
        console: for progress and notes; None: standard error.

    Returns:
        The scores; None in all processes of a distributed run but the first.

    Raises:
        RetinaFaceError: labels, predictions, weights or images that cannot be used; any note if strict.
    """
    started = time.monotonic()
    console = console or Console(stderr=True)
    console.quiet = console.quiet or not is_first_process()
    _check_output(settings)
    output = settings.output
    if settings.predictions:
        material = _read_material(settings, console)
    else:
        output = _choose_output(settings)
        try:
            detected = _detect_material(settings, output, console)
        finally:
            _remove_if_empty(output)
        if detected is None:
            return None
        material = detected
    for candidate in material.candidates:
        say(console, f"predictions  {candidate.describe()}")
        _note(console, candidate.notes, strict=settings.strict)
    root = output or next_run_folder(RUNS_FOLDER)
    images = dict.fromkeys(source.path for source in material.sources.values())
    inputs = [*settings.predictions, *([settings.labels] if settings.labels else []), *images]
    mode: Mode = "overwrite" if settings.overwrite or settings.resume else "new"
    identity = settings.model_dump(mode="json", exclude={"output", "overwrite", "resume"})
    can_resume = not settings.predictions
    with OutputFolder.open(root, identity=identity, mode=mode, can_resume=can_resume, protect=inputs) as folder:
        scores = _score(material, settings, folder)
        _write_page(scores, material, settings, folder, console)
        files = [REPORT_FILE, PAGE_FILE, CURVE_FILE]
        if settings.worst and _draw_worst(scores[0], material, settings.worst, folder, console):
            files.append(WORST_FILE)
        seconds = time.monotonic() - started
        report = make_report(scores, material.truth, settings=settings, seconds=seconds)
        folder.write_json(root / REPORT_FILE, report, indent=True)
    result_console = results_of(console)
    print_scores(result_console, scores)
    say(result_console, f"\nresults: {root} ({', '.join(files)})")
    return EvaluateReport(root, scores, report)


def _check_output(settings: EvaluateSettings) -> None:
    """Raises SettingsError or OutputError before any work where results cannot be written to the output folder."""
    output = settings.output
    if output is None:
        return
    if os.path.lexists(output) and not output.is_dir():
        raise SettingsError(f"{output}: is no folder; --output wants one")
    manifest = Manifest.read(output)
    is_replaced = settings.overwrite or settings.resume
    for name in (REPORT_FILE, PAGE_FILE, CURVE_FILE, WORST_FILE):
        if not os.path.lexists(output / name):
            continue
        if not manifest.proves(name):
            raise OutputError(
                f"{output / name}: was not written by this tool or changed since, and is left as it is; name another "
                "--output"
            )
        if not is_replaced:
            raise SettingsError(
                f"{output}: holds results already; --overwrite to replace them, or name another --output"
            )


def _choose_output(settings: EvaluateSettings) -> Path:
    """The folder for the results; the other processes of a distributed run make none."""
    if settings.output is not None:
        return settings.output
    return next_run_folder(RUNS_FOLDER) if is_first_process() else RUNS_FOLDER


def _remove_if_empty(folder: Path) -> None:
    """Leaves no empty folder behind where nothing was detected."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _read_material(settings: EvaluateSettings, console: Console) -> _Material:
    """Labels and prediction files, read side by side."""
    task = SideTask(partial(_read_truth, settings))
    result = cache(task.result)
    read = [
        (path, read_predictions(path, images=settings.images, category_ids=lambda: result().faces.category_ids))
        for path in settings.predictions
    ]
    truth = result()
    _introduce(truth, settings, console)
    candidates = [make_candidate(table, truth, name=str(path), run=read_run_file(path)) for path, table in read]
    return _Material(truth, tuple(candidates), _locate_images(truth, settings, console))


def _locate_images(truth: GroundTruth, settings: EvaluateSettings, console: Console) -> Mapping[str, Source]:
    """Where the images lie; none where that is not known and nobody asked for them."""
    try:
        return locate_images(truth, settings.images)
    except ImageReadError as error:
        if settings.worst:
            raise
        say(console, f"note         {error}, so that {PAGE_FILE} shows them")
        return {}


def _detect_material(settings: EvaluateSettings, output: Path, console: Console) -> _Material | None:
    """Labels, and what a detector finds on their images; None in all processes but the first."""
    with loading():
        from retinaface_cli.commands.evaluate.detection import detect, read_training

    training = None if settings.training is None else read_training(settings.training)
    weights = settings.weights or str(training.weights or "" if training else "")
    if not weights:
        raise SettingsError(f"{settings.training}: the run has no best weights yet; name some with -w")
    truth = _read_truth(settings)
    _introduce(truth, settings, console)
    sources = locate_images(truth, settings.images)
    scale = settings.scale
    if scale is None and training and settings.labels is None and not settings.has_size:
        scale = str(training.settings.data.validation_scale)
    detection = detection_settings(settings, weights=weights, scale=scale)
    say(console, f"weights      {weights}, scale {', '.join([detection.test_scale, *settings.tta])}")
    candidate = detect(
        detection,
        truth,
        sources,
        output=output / DETECTIONS_FOLDER,
        resume=settings.resume,
        console=console,
    )
    return None if candidate is None else _Material(truth, (candidate,), sources)


def _read_truth(settings: EvaluateSettings) -> GroundTruth:
    """The labels that are named, else the validation data of the training."""
    if settings.labels is not None:
        return read_truth(settings.labels, format_name=settings.labels_format, images=settings.images)
    if settings.training is None:
        raise SettingsError("name labels, or a training run whose validation data is to be used")
    from retinaface_cli.commands.evaluate.detection import read_training, read_validation

    return read_validation(read_training(settings.training))


def _introduce(truth: GroundTruth, settings: EvaluateSettings, console: Console) -> None:
    """Says what is measured on."""
    say(console, f"labels       {truth.describe()}")
    _note(console, truth.notes, strict=settings.strict)


def _note(console: Console, notes: Sequence[str], *, strict: bool) -> None:
    """Prints notes; raises LabelFormatError instead if strict."""
    if strict and notes:
        raise LabelFormatError("\n".join(notes))
    few = listed(console, notes)
    for note in few:
        say(console, f"note         {note}")
    if len(notes) > len(few):
        say(console, f"note         and {len(notes) - len(few)} more in {REPORT_FILE}")


def _score(material: _Material, settings: EvaluateSettings, folder: OutputFolder) -> tuple[Scores, ...]:
    """All scores; the curves are drawn while what takes longer is computed beside."""
    protocols = choose_protocols(settings.protocols, material.truth)
    started = [
        start_scores(candidate, material.truth, protocols=protocols, coco_max_detections=settings.coco_max_detections)
        for candidate in material.candidates
    ]
    with folder.new_file(folder.root / CURVE_FILE) as path:
        draw_curves([ready for ready, _ in started], shown(material.truth.name), path)
    return tuple(finish() for _, finish in started)


def _write_page(
    scores: Sequence[Scores], material: _Material, settings: EvaluateSettings, folder: OutputFolder, console: Console
) -> None:
    """Writes the page with the images that have most mistakes."""
    from retinaface_cli.commands.evaluate.page import write_report_page

    names = [image.file_name for image in find_worst(scores[0], max(settings.worst, _MIN_SHOWN))]
    place = folder.root / PAGE_FILE
    with folder.new_file(place) as path:
        num_linked = write_report_page(path, scores, material.truth, names=names, sources=material.sources, place=place)
    if num_linked:
        say(
            console, f"note         {PAGE_FILE} shows {num_linked:,} images from their files: it may not be moved alone"
        )


def _draw_worst(scores: Scores, material: _Material, count: int, folder: OutputFolder, console: Console) -> bool:
    """Draws the images with most mistakes, and says what the colours mean; False where there is none to draw."""
    from retinaface_cli.commands.evaluate.worst import draw_worst
    from retinaface_cli.visualization.image_files import encode_image

    mistakes = [image for image in find_worst(scores, count) if image.num_missed + image.num_false]
    shown_images = [image for image in mistakes if image.file_name in material.sources]
    canvas, failures = draw_worst(scores, shown_images, material.sources)
    for failure in failures:
        say(console, f"note         {failure}")
    if canvas is None:
        say(console, "note         no mistakes to draw, or their images are missing")
        return False
    folder.write_bytes(folder.root / WORST_FILE, encode_image(folder.root / WORST_FILE, canvas))
    threshold = scores.ap50.best_f1_score
    say(console, f"{WORST_FILE}: missed faces blue, false orange, right green, at score >= {threshold:.3f} (best F1)")
    return True
