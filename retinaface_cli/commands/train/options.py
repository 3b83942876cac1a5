"""From the command line, a config and a checkpoint to the settings of `train`, and back to a config."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from retinaface_cli.commands.console import say
from retinaface_cli.errors import CheckpointError, SettingsError
from retinaface_cli.files.output_files import write_file
from retinaface_cli.model.checkpoints.files import read_weight_file
from retinaface_cli.settings.base import assign, parse_assignments, read_yaml, validate_settings
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.legacy import Note, add_paths_from_environment, is_legacy_config, translate_legacy_config
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.run_folder import find_checkpoint, find_requeued_checkpoint

_WIDER: dict[str, Any] = {
    "train": [{"labels": "data/wider/train/label.txt", "images": "data/wider/train/images"}],
    "validation": [{"labels": "data/wider/val/label.txt", "images": "data/wider/val/images"}],
}

_RECIPE: dict[str, Any] = {
    "loss": {
        "matching": {"name": "atss"},
        "classification": {"name": "quality_focal"},
        "box": {"name": "diou"},
        "weights": {"landmarks": 0.25},
    },
    "scheduler": {"name": "cosine", "warmup_epochs": 1},
}
"""What trains best from ImageNet weights; see examples/configs/mobilenet0.25_small.yaml."""

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet0.25": (
        "MobileNet-0.25 on WIDER FACE, from ImageNet weights.\n"
        "Put in: data.train, data.validation, and backbone_weights (the file mobilenetV1X0.25_pretrain.tar).",
        {
            "experiment_name": "mobilenet0.25",
            "network": {"backbone": "mobilenet0.25"},
            "backbone_weights": "mobilenetV1X0.25_pretrain.tar",
            "data": {**_WIDER, "batch_size": 16},
            "optimizer": {"name": "sgd", "lr": 0.02},
            "trainer": {"max_epochs": 100, "gradient_clip_norm": 10},
            **_RECIPE,
        },
    ),
    "resnet50": (
        "ResNet-50 on WIDER FACE, from ImageNet weights, which are fetched once.\nPut in: data.train, data.validation.",
        {
            "experiment_name": "resnet50",
            "network": {"backbone": "resnet50"},
            "data": {**_WIDER, "image_size": 840, "batch_size": 6},
            "optimizer": {"name": "sgd", "lr": 0.01, "reference_batch_size": 24},
            "trainer": {
                "accelerator": "gpu",
                "max_epochs": 100,
                "precision": "16",
                "gradient_clip_norm": 10,
            },
            **_RECIPE,
        },
    ),
    "custom": (
        "Your own faces, from the detector that the package carries: little data and few epochs are enough.\n"
        "Put in: data.train (any format that `retinaface convert-labels` reads), and weights.",
        {
            "experiment_name": "custom",
            "weights": "mobilenet0.25",
            "data": {"train": [{"labels": "labels.json", "images": "images"}], "held_out": 0.1, "batch_size": 16},
            "optimizer": {"name": "sgd", "lr": 0.001},
            "scheduler": {"name": "cosine", "warmup_epochs": 1},
            "trainer": {"max_epochs": 30},
            "early_stopping": {"patience": 10},
        },
    ),
}
"""By name: the heading of the file, and what differs from the defaults."""


@dataclass(frozen=True)
class TrainRequest:
    """What the user asked for.

    Attributes:
        settings: of the run.
        source: where they come from, for messages.
        notes: what became of the keys of an old config.
        checkpoint: where training goes on from; None: from the start.
    """

    settings: TrainSettings
    source: str
    notes: tuple[Note, ...] = ()
    checkpoint: Path | None = None


def resolve_request(
    given: Mapping[str, Any],
    *,
    config: str | None = None,
    set_values: Sequence[str] = (),
    resume: str | None = None,
) -> TrainRequest:
    """What the user wrote, laid over the config file (or the settings of the resumed run), laid over the defaults.

    Args:
        given: settings that stand on the command line, by dotted key; they go before set_values.
        config: path of a YAML file of settings.
        set_values: further settings as `key=value`.
        resume: the run or checkpoint to go on with.

    Raises:
        SettingsError: a wrong key or value, or nothing to train from.
        CheckpointError: the checkpoint to go on from cannot be used.
    """
    overrides = {**parse_assignments(set_values), **given}
    if config is None and resume is None:
        raise SettingsError("name a config, e.g. retinaface train config.yaml; --init-config custom writes one")
    if config is None:
        return _resume_alone(str(resume), overrides)
    try:
        values = read_yaml(Path(config))
    except SettingsError as error:
        raise SettingsError(f"{error}; train takes a config: --init-config custom writes one to put paths in") from None
    notes: tuple[Note, ...] = ()
    if is_legacy_config(values):
        values, notes = translate_legacy_config(values, source=config)
    for key, value in overrides.items():
        assign(values, key, value)
    notes += tuple(add_paths_from_environment(values))
    settings = validate_settings(TrainSettings, values, source=config)
    if resume is None:
        checkpoint = find_requeued_checkpoint(settings.output, settings.experiment_name)
    else:
        checkpoint = find_checkpoint(resume, settings.output, settings.experiment_name)
    return TrainRequest(settings, config, notes, checkpoint)


def _resume_alone(resume: str, overrides: Mapping[str, Any]) -> TrainRequest:
    """Goes on with the settings that the checkpoint carries."""
    output = overrides.get("output")
    checkpoint = find_checkpoint(resume, None if output is None else Path(output), None)
    values = _read_settings(checkpoint)
    for key, value in overrides.items():
        group = values.get(key.removesuffix(".name"))
        if isinstance(group, dict) and group.get("name") != value:
            group.clear()  # another kind of optimizer or schedule has other settings
        assign(values, key, value)
    settings = validate_settings(TrainSettings, values, source=str(checkpoint))
    return TrainRequest(settings, str(checkpoint), checkpoint=checkpoint)


def _read_settings(checkpoint: Path) -> dict[str, Any]:
    """The settings that a training checkpoint of this tool carries."""
    settings = read_weight_file(checkpoint).metadata.get("settings")
    if not isinstance(settings, dict):
        raise CheckpointError(f"{checkpoint}: carries no settings of a training; name the config as well")
    return settings


def write_starter_config(name: str, path: str | None, *, console: Console) -> None:
    """Writes a commented config that trains after its paths are put in.

    Args:
        name: one of PRESETS.
        path: of the file; None: NAME.yaml in the working folder.
        console: for what is said.

    Raises:
        SettingsError: no such starter, or the file exists.
    """
    if name not in PRESETS:
        raise SettingsError(f"--init-config {name}: known: {', '.join(PRESETS)}")
    target = Path(path or f"{name}.yaml")
    if os.path.lexists(target):
        raise SettingsError(f"{target}: exists; name another file: retinaface train NEW.yaml --init-config {name}")
    with write_file(target) as temporary:
        temporary.write_text(starter_config(name), encoding="utf-8")
    say(console, f"{target} written; put your paths in, then: retinaface train {target}")


def starter_config(name: str) -> str:
    """A whole commented config that trains after its paths are put in."""
    heading, values = PRESETS[name]
    settings = validate_settings(TrainSettings, values, source=name)
    without = ("network",) if settings.weights is not None else ()  # the checkpoint says what its network is
    return render_settings(settings, heading=f"{heading}\nTrain with: retinaface train THIS_FILE", without=without)


def describe_config(request: TrainRequest) -> str:
    """All settings in force as commented YAML, with what became of the keys of an old config at the top."""
    notes = [f"{note.kind:8}{note.key}: {note.text}" for note in request.notes]
    return render_settings(request.settings, heading="\n".join([f"All settings of {request.source}", *notes]))
