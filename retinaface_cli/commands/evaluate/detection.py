"""Detecting on the labelled images by the workflow of `infer`, and what a training run was validated on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from rich.console import Console

from retinaface_cli.commands.evaluate.predictions import Candidate, make_candidate
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.commands.infer import run as infer
from retinaface_cli.data.images import load_training_data
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, RetinaFaceError, SettingsError
from retinaface_cli.files.names import safe_name
from retinaface_cli.formats import FaceTable, read_predictions
from retinaface_cli.settings.base import read_yaml, validate_settings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.legacy import add_paths_from_environment, is_legacy_config, translate_legacy_config
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.run_folder import DEFAULT_PARENT, RunFolder, is_first_process


def detect(
    settings: InferSettings,
    truth: GroundTruth,
    sources: Mapping[str, Source],
    *,
    output: Path,
    resume: bool,
    console: Console,
) -> Candidate | None:
    """Finds the faces of all labelled images.

    Args:
        settings: of the detector.
        truth: the labelled images.
        sources: name of an image -> where it lies.
        output: folder for the detections.
        resume: whether to go on with what the folder holds.
        console: for progress and messages.

    Returns:
        The detections; None in all processes of a distributed run but the first.

    Raises:
        RetinaFaceError: weights, device or folder that cannot be used, no image found, or a run that was stopped.
    """
    names = {safe_name(name, suffix=""): name for name in truth.faces.file_names if name in sources}
    named = [replace(sources[name], name=result_name) for result_name, name in names.items()]
    if not named:
        raise ImageReadError(f"{truth.name}: none of its images was found; name their folder with --images")
    chosen = settings.model_copy(update={"output": output, "resume": resume})
    report = infer.run(chosen, sources=named, console=console)
    if not is_first_process():
        return None
    if report.interrupted:
        raise RetinaFaceError(f"nothing was scored; go on by the same command with -o {output.parent} --resume")
    run = orjson.loads((output / "run.json").read_bytes())
    predictions = read_predictions(output / "predictions.json")
    if not len(predictions):
        raise ImageReadError(f"{truth.name}: none of its images could be read; see {output / 'errors.json'}")
    index = {name: position for position, name in enumerate(truth.faces.file_names)}
    positions = [index[names[name]] for name in predictions.file_names]
    return make_candidate(predictions, truth, name=str(output), run=run, positions=positions)


@dataclass(frozen=True)
class TrainingRun:
    """A training run to be measured.

    Attributes:
        config: where its settings stand.
        settings: its settings.
        weights: its best weights; None where it has none (yet).
    """

    config: Path
    settings: TrainSettings
    weights: Path | None


def find_newest_run() -> Path | None:
    """The folder of the run whose best weights are newest; None where no run has any."""
    return _newest(folder for folder in DEFAULT_PARENT.glob("*") if RunFolder(folder).config.is_file())


def _newest(folders: Iterable[Path]) -> Path | None:
    """The folder whose best weights are newest; None where none has any."""
    with_weights = [folder for folder in folders if RunFolder(folder).best_weights.is_file()]
    return max(with_weights, key=lambda folder: RunFolder(folder).best_weights.stat().st_mtime_ns, default=None)


def read_training(path: Path) -> TrainingRun:
    """Reads a run by its folder or its config.

    The best weights of a config that lies elsewhere are those of the newest run with its name.

    Raises:
        SettingsError: there is no config, or it is wrong.
    """
    config = RunFolder(path).config if path.is_dir() else path
    try:
        values = read_yaml(config)
    except SettingsError as error:
        message = f"{error}; expected the folder or config of a training run; weights stand behind -w"
        raise SettingsError(message) from None
    if is_legacy_config(values):
        values, _ = translate_legacy_config(values, source=str(config))
    add_paths_from_environment(values)
    settings = validate_settings(TrainSettings, values, source=str(config))
    folders = [config.parent] if config == RunFolder(config.parent).config else []
    if settings.output is not None:
        folders.append(settings.output)
    found = next((folder for folder in folders if RunFolder(folder).best_weights.is_file()), None)
    if found is None:
        name = settings.experiment_name
        found = _newest([*DEFAULT_PARENT.glob(name), *DEFAULT_PARENT.glob(f"{name}-*")])
    return TrainingRun(config, settings, None if found is None else RunFolder(found).best_weights)


def read_validation(run: TrainingRun) -> GroundTruth:
    """The validation images of a run, read from its label files or held out of its training images.

    Raises:
        SettingsError: the run has none.
        LabelFormatError: a label file cannot be understood.
        ImageReadError: images are missing.
    """
    sources = load_training_data(run.settings.data).validation
    images_found = [(source.labels, one_image) for source in sources for one_image in source.images]
    if not images_found:
        raise SettingsError(f"{run.config}: the run has no validation images; name --labels and --images")
    names = _distinct_names([(labels, one_image.file_name) for labels, one_image in images_found])
    images = [one_image for _, one_image in images_found]
    faces = FaceTable.from_labels(
        names, [image.faces for image in images], image_sizes=[image.size for image in images]
    )
    return GroundTruth(
        name=f"validation data of {run.config}",
        format_name=", ".join(sorted({source.format_name for source in sources})),
        faces=faces,
        subsets={"all": ~faces.ignore},
        notes=tuple(dict.fromkeys(finding for source in sources for finding in source.findings)),
        sources={name: image.source for name, image in zip(names, images, strict=True)},
    )


def _distinct_names(named: Sequence[tuple[Path, str]]) -> list[str]:
    """Names of images; where several label files have the same one, with the label file's folder in front."""
    counts = Counter(name for _, name in named)
    return [name if counts[name] == 1 else f"{labels.parent.name}/{labels.stem}/{name}" for labels, name in named]
