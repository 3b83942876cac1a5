"""Detecting on the labelled images before they are scored, by the workflow of `infer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from retinaface_cli.commands.evaluate.predictions import Candidate, make_candidate
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.commands.infer import run as infer
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, RetinaFaceError
from retinaface_cli.formats import read_predictions
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.training.run_folder import is_first_process


def detect(
    settings: InferSettings,
    truth: GroundTruth,
    paths: Mapping[str, Path],
    *,
    output: Path,
    resume: bool,
    console: Console,
) -> Candidate | None:
    """Finds the faces of all labelled images.

    Args:
        settings: of the detector.
        truth: the labelled images.
        paths: name of an image -> where it lies.
        output: folder for the detections.
        resume: whether to go on with what the folder holds.
        console: for progress and messages.

    Returns:
        The detections; None in all processes of a distributed run but the first.

    Raises:
        RetinaFaceError: weights, device or folder that cannot be used, no image found, or a run that was stopped.
    """
    sources = [Source(paths[image.file_name], image.file_name) for image in truth.images if image.file_name in paths]
    if not sources:
        raise ImageReadError(f"{truth.name}: none of its images was found; name their folder with --images")
    chosen = settings.model_copy(update={"output": output, "resume": resume})
    report = infer.run(chosen, sources=sources, console=console)
    if not is_first_process():
        return None
    if report.interrupted:
        raise RetinaFaceError(f"nothing was scored; go on by the same command with -o {output.parent} --resume")
    run = json.loads((output / "run.json").read_text(encoding="utf-8"))
    images = read_predictions(output / "predictions.json").detection_images()
    if not images:
        raise ImageReadError(f"{truth.name}: none of its images could be read; see {output / 'errors.json'}")
    return make_candidate(images, truth, name=str(output), run=run)
