"""`retinaface evaluate`: scores predictions, or detects and scores in one go."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from retinaface_cli.commands.evaluate.predictions import Candidate, make_candidate, read_run_file
from retinaface_cli.commands.evaluate.process import SideTask
from retinaface_cli.commands.evaluate.report import write_report
from retinaface_cli.commands.evaluate.scores import Scores, choose_protocols, find_worst, start_scores
from retinaface_cli.commands.evaluate.tables import print_scores, short_names
from retinaface_cli.commands.evaluate.truth import GroundTruth, read_truth
from retinaface_cli.errors import LabelFormatError, SettingsError
from retinaface_cli.evaluation.average_precision import PrecisionRecallCurve
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.formats import read_predictions
from retinaface_cli.settings.evaluation import EvaluateSettings, detection_settings
from retinaface_cli.training.run_folder import is_first_process

if TYPE_CHECKING:
    from retinaface_cli.commands.evaluate.training import TrainingRun

RUNS_FOLDER = Path("runs/evaluate")
REPORT_FILE = "report.json"
CURVE_FILE = "pr_curve.png"
WORST_FILE = "worst.jpg"
DETECTIONS_FOLDER = "detections"

_MAX_CURVE_POINTS = 2000
_MAX_NOTED = 5
_PLAIN_WIDTH = 120
"""Characters a line of the table where it does not go to a terminal."""


@dataclass(frozen=True, eq=False)
class EvaluateReport:
    """What was scored, and in which folder the results are."""

    output: Path
    scores: tuple[Scores, ...]


@dataclass(frozen=True, eq=False)
class _Material:
    """What is scored: labels, predictions, and where the images lie, where that is needed."""

    truth: GroundTruth
    candidates: tuple[Candidate, ...]
    paths: Mapping[str, Path]


def run(settings: EvaluateSettings, *, console: Console | None = None) -> EvaluateReport | None:
    """Runs the whole workflow; the table goes to standard output.

    Args:
        settings: what to score.
        console: for progress and notes; None: standard error.

    Returns:
        The scores; None in all processes of a distributed run but the first.

    Raises:
        RetinaFaceError: labels, predictions, weights or images that cannot be used; anything doubtful if strict.
    """
    started = time.monotonic()
    console = console or Console(stderr=True, quiet=not is_first_process())
    _check_output(settings)
    output = settings.output
    if settings.predictions:
        material = _read_material(settings, console)
    else:
        output = _claim_output(settings)
        try:
            detected = _detect_material(settings, output, console)
        finally:
            _remove_if_empty(output)
        if detected is None:
            return None
        material = detected
    for candidate in material.candidates:
        _say(console, f"predictions  {candidate.describe()}")
        _note(console, candidate.notes, strict=settings.strict)
    output = output or next_run_folder(RUNS_FOLDER)
    scores = _score(material, settings, curve_path=output / CURVE_FILE)
    files = [REPORT_FILE, CURVE_FILE]
    if settings.worst and _draw_worst(scores[0], material, settings.worst, output / WORST_FILE, console):
        files.append(WORST_FILE)
    write_report(output / REPORT_FILE, scores, material.truth, settings=settings, seconds=time.monotonic() - started)
    result_console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    print_scores(result_console, scores)
    _say(result_console, f"\nresults: {output} ({', '.join(files)})")
    return EvaluateReport(output, scores)


def _check_output(settings: EvaluateSettings) -> None:
    """Raises SettingsError where the output folder holds other results, or is none."""
    output = settings.output
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output}: is a file; --output wants a folder")
    if (output / REPORT_FILE).exists() and not (settings.overwrite or settings.resume):
        raise SettingsError(f"{output}: holds results already; --overwrite to replace them, or name another --output")


def _claim_output(settings: EvaluateSettings) -> Path:
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
        (path, read_predictions(path, images=settings.images, category_ids=lambda: result().category_ids))
        for path in settings.predictions
    ]
    truth = result()
    _introduce(truth, settings, console)
    candidates = [
        make_candidate(
            table.detection_images(), truth, name=str(path), run=read_run_file(path), image_ids=table.image_ids
        )
        for path, table in read
    ]
    return _Material(truth, tuple(candidates), _locate(truth, settings) if settings.worst else {})


def _detect_material(settings: EvaluateSettings, output: Path, console: Console) -> _Material | None:
    """Labels, and what a detector finds on their images; None in all processes but the first."""
    from retinaface_cli.commands.evaluate.detection import detect

    training = _training(settings)
    weights = settings.weights or str(training.weights or "" if training else "")
    if not weights:
        raise SettingsError(f"{settings.training}: the run has no best weights yet; name some with -w")
    truth = _read_truth(settings)
    _introduce(truth, settings, console)
    paths = _locate(truth, settings)
    scale = settings.scale
    if scale is None and training and settings.labels is None and not settings.has_size:
        scale = training.scale
    detection = detection_settings(settings, weights=weights, scale=scale)
    _say(console, f"weights      {weights}, scale {', '.join([detection.test_scale, *settings.tta])}")
    candidate = detect(
        detection,
        truth,
        paths,
        output=output / DETECTIONS_FOLDER,
        resume=settings.resume,
        console=console,
    )
    return None if candidate is None else _Material(truth, (candidate,), paths)


def _training(settings: EvaluateSettings) -> TrainingRun | None:
    """The training run that the settings name."""
    if settings.training is None:
        return None
    from retinaface_cli.commands.evaluate.training import read_training

    return read_training(settings.training)


def _read_truth(settings: EvaluateSettings) -> GroundTruth:
    """The labels that are named, else the validation data of the training."""
    if settings.labels is not None:
        return read_truth(settings.labels, format_name=settings.labels_format, images=settings.images)
    training = _training(settings)
    if training is None:
        raise SettingsError("name labels, or a training run whose validation data is to be used")
    from retinaface_cli.commands.evaluate.training import read_validation

    return read_validation(training)


def _locate(truth: GroundTruth, settings: EvaluateSettings) -> dict[str, Path]:
    from retinaface_cli.commands.evaluate.images import locate_images

    return locate_images(truth, settings.images)


def _introduce(truth: GroundTruth, settings: EvaluateSettings, console: Console) -> None:
    """Says what is measured on."""
    _say(console, f"labels       {truth.describe()}")
    _note(console, truth.notes, strict=settings.strict)


def _note(console: Console, notes: Sequence[str], *, strict: bool) -> None:
    """Says what is doubtful; raises LabelFormatError instead if strict."""
    if strict and notes:
        raise LabelFormatError("\n".join(notes))
    for note in notes[:_MAX_NOTED]:
        _say(console, f"note         {note}")
    if len(notes) > _MAX_NOTED:
        _say(console, f"note         and {len(notes) - _MAX_NOTED} more in {REPORT_FILE}")


def _score(material: _Material, settings: EvaluateSettings, *, curve_path: Path) -> tuple[Scores, ...]:
    """All scores; the curves are drawn while what takes longer is computed beside."""
    protocols = choose_protocols(settings.protocols, material.truth)
    started = [
        start_scores(candidate, material.truth, protocols=protocols, coco_max_detections=settings.coco_max_detections)
        for candidate in material.candidates
    ]
    _draw_curves([one.ready for one in started], material.truth, curve_path)
    return tuple(one.finish() for one in started)


def _draw_curves(scores: Sequence[Scores], truth: GroundTruth, path: Path) -> None:
    """Precision over recall of the WIDER FACE subsets, or of AP50 where they were not asked for."""
    from retinaface_cli.visualization.evaluation_plots import NamedCurve, draw_precision_recall

    def thinned(curve: PrecisionRecallCurve) -> NamedCurve:
        """At most _MAX_CURVE_POINTS points of the curve."""
        known = np.flatnonzero(curve.precision > 0)  # nothing is counted yet at the highest thresholds
        points = known[np.linspace(0, len(known) - 1, min(len(known), _MAX_CURVE_POINTS)).astype(np.intp)]
        return NamedCurve(curve.recall[points], curve.precision[points], curve.average_precision)

    names = short_names([one.candidate.name for one in scores])
    groups = {}
    for name, one in zip(names, scores, strict=True):
        curves = {"AP50": one.ap50.curve}
        if one.wider is not None:
            curves = {subset: result.curve for subset, result in one.wider.subsets.items()}
        groups[name] = {subset: thinned(curve) for subset, curve in curves.items()}
    scales = sorted({one.candidate.scale or "unknown" for one in scores})
    draw_precision_recall(groups, path, title=f"{truth.name}, test scale {' and '.join(scales)}")


def _draw_worst(scores: Scores, material: _Material, count: int, path: Path, console: Console) -> bool:
    """Draws the images with most mistakes, and says what the colours mean; False where there is none to draw."""
    from retinaface_cli.commands.evaluate.worst import draw_worst

    mistakes = find_worst(scores, count)
    shown = [image for image in mistakes if image.file_name in material.paths]
    for failure in draw_worst(scores, shown, material.paths, path):
        _say(console, f"note         {failure}")
    if not shown:
        _say(console, "note         there are no mistakes to draw, or their images are missing")
        return False
    threshold = scores.ap50.best_f1_score
    _say(console, f"{path.name}: missed faces blue, false orange, right green, at score >= {threshold:.3f} (best F1)")
    return path.exists()


def _say(console: Console, text: str) -> None:
    """Prints a line as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
