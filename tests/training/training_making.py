"""Small trainings on painted faces, for the tests of the training module."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from retinaface_cli.data.batches import (
    TrainingBatch,
    TrainingSample,
    ValidationBatch,
    ValidationSample,
    collate_training,
    collate_validation,
)
from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.faces import FaceLabels
from retinaface_cli.model.networks import build_network
from retinaface_cli.settings.base import load_settings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.module import FaceTrainingModule
from tests.data.painted import face_labels, paint

SIDE = 128
BOXES: tuple[tuple[tuple[float, float, float, float], ...], ...] = (
    ((20, 24, 60, 72),),
    ((70, 10, 90, 34), (10, 60, 60, 120)),
    ((40, 50, 100, 110),),
    ((8, 8, 28, 32), (80, 80, 112, 120), (60, 20, 84, 48)),
    (),
    ((30, 60, 54, 90),),
)


def make_settings(**overrides: Any) -> TrainSettings:
    """Settings of a training on painted faces; `__` in a name stands for a dot."""
    values = {
        "data.train": [{"labels": "labels.json"}],
        "data.image_size": SIDE,
        "trainer.accelerator": "cpu",
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    return load_settings(TrainSettings, overrides=values)


def make_module(settings: TrainSettings) -> FaceTrainingModule:
    """The module with the same random start weights each time."""
    torch.manual_seed(0)
    return FaceTrainingModule(settings, build_network(settings.network))


def painted_image(number: int) -> tuple[Any, FaceLabels]:
    """A painted image on noise, and its faces; from the seventh on the first come again with other noise."""
    faces = face_labels(*BOXES[number % len(BOXES)])
    noise = np.random.default_rng(number).integers(0, 40, (SIDE, SIDE, 3))
    return np.clip(paint((SIDE, SIDE), faces).astype(int) + noise, 0, 255).astype(np.uint8), faces


def training_batch(numbers: Sequence[int]) -> TrainingBatch:
    """A batch of painted images."""
    samples = [TrainingSample(*painted_image(number), f"{number}.png") for number in numbers]
    return collate_training(samples)


def validation_batch(numbers: Sequence[int]) -> ValidationBatch:
    """A batch of painted images, as if they had been made half as large for the network."""
    resizer = Resizer((2 * SIDE, 2 * SIDE), (SIDE, SIDE))
    samples = []
    for number in numbers:
        image, faces = painted_image(number)
        doubled = FaceLabels(faces.boxes * 2, faces.landmarks * 2, faces.has_landmarks, faces.ignore)
        samples.append(ValidationSample(image, resizer, doubled, f"{number}.png", number))
    return collate_validation(samples)


def loader_of(batches: Sequence[Any]) -> DataLoader[Any]:
    """Gives ready batches, one after another."""
    return DataLoader(list(batches), batch_size=None)  # type: ignore[arg-type]


def make_trainer(settings: TrainSettings, **arguments: Any) -> pl.Trainer:
    """A trainer that writes and prints nothing."""
    quiet = {name: False for name in ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")}
    return pl.Trainer(
        accelerator="cpu",
        max_epochs=settings.trainer.max_epochs,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **{"devices": 1, **quiet, **arguments},
    )


class SharedBatches(pl.LightningDataModule):
    """The same global batches for any number of processes, each of which gets its part.

    Validation images are shared out so that the last process gets the first image a second time.
    """

    def __init__(self, *, num_steps: int, global_batch_size: int, validation: Sequence[int] = ()) -> None:
        super().__init__()
        first = range(0, num_steps * global_batch_size, global_batch_size)
        self._steps = [list(range(start, start + global_batch_size)) for start in first]
        self._validation = list(validation)

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches of this process."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return loader_of([training_batch(numbers[rank::world_size]) for numbers in self._steps])

    def val_dataloader(self) -> DataLoader[Any]:
        """Validation batches of this process."""
        assert self.trainer is not None
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        numbers = self._validation[rank::world_size]
        if rank == world_size - 1:
            numbers = numbers + self._validation[:1]
        return loader_of([validation_batch([number]) for number in numbers])


class FigureRecorder(pl.Callback):
    """Writes the loss of every step and the final figures into a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._losses: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the loss."""
        del pl_module, outputs, batch, batch_idx
        self._losses.append(float(trainer.callback_metrics["train/loss"]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the file, in the first process."""
        if trainer.global_rank == 0:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            first = next(iter(pl_module.state_dict().values()))
            content = {"losses": self._losses, "figures": figures, "weights": first.flatten().tolist()}
            self._path.write_text(json.dumps(content))
