"""Small runs of `train` on painted faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from retinaface_cli.commands.train import run as train
from retinaface_cli.commands.train.options import resolve_request
from retinaface_cli.training.run_folder import RunFolder
from retinaface_cli.visualization.image_files import save_image
from tests.training.training_making import painted_image

NUM_IMAGES = 6
NUM_STEPS = 3
"""Of an epoch: two images a step."""

SMALL = {
    "experiment_name": "small",
    "backbone_weights": "none",
    "data.image_size": 64,
    "data.batch_size": 2,
    "data.validation_scale": 64,
    "data.num_workers": 0,
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 2,
    "trainer.log_every_n_steps": 1,
    "scheduler.name": "cosine",
    "scheduler.warmup_epochs": 1,
}


def write_data(folder: Path) -> Path:
    """Six painted images with a label file, and a config that trains on four and measures on all."""
    entries = []
    for number in range(NUM_IMAGES):
        image, faces = painted_image(number)
        name = f"{number}.png"
        save_image(folder / "images" / name, image)
        annotations = [
            {"bbox": box.tolist(), "landmarks": points.tolist()}
            for box, points in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        entries.append({"file_name": name, "annotations": annotations})
    labels = folder / "labels.json"
    labels.write_text(json.dumps(entries))
    source = f"[{{labels: {labels}, images: {folder / 'images'}}}]"
    config = folder / "config.yaml"
    config.write_text(f"data: {{train: {source}, validation: {source}}}\n")
    return config


def train_small(config: Path | None, **given: Any) -> None:
    """Runs `train` as the command line does; `changes` holds settings by dotted key."""
    changes = {**SMALL, **given.pop("changes", {})} if config is not None else given.pop("changes", {})
    values = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    resume = given.pop("resume", None)
    name = None if config is None else str(config)
    train.run(resolve_request(given, config=name, set_values=values, resume=resume))


def read_report(folder: Path) -> dict[str, Any]:
    """report.json of a run."""
    report: dict[str, Any] = json.loads(RunFolder(folder).report.read_text())
    return report


def read_last(folder: Path) -> dict[str, Any]:
    """last.ckpt of a run."""
    checkpoint: dict[str, Any] = torch.load(RunFolder(folder).last, weights_only=True)
    return checkpoint
