"""The images of a training run: what goes into the network, what it finds, and how the figures move."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import rank_zero_only

from retinaface_cli.data.batches import TrainingBatch, ValidationBatch, batch_to_images_and_labels
from retinaface_cli.errors import count_of
from retinaface_cli.faces import FaceDetections, FaceLabels, RgbImage, map_points
from retinaface_cli.training.callbacks.checkpoints import RunCheckpoints
from retinaface_cli.training.loggers import RunLogger
from retinaface_cli.training.loggers.metrics_csv import read_curves
from retinaface_cli.visualization.drawing import draw_faces
from retinaface_cli.visualization.image_files import save_image
from retinaface_cli.visualization.plots import Curve, draw_curves
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink

_NUM_IMAGES = 12
_NUM_COLUMNS = 4
_CELL_WIDTH = 480
_SECONDS_BETWEEN_CURVES = 60.0
_MIN_DRAWN_SCORE = 0.3
_LEGEND = "Ignored faces are dashed. Points: left eye red, right eye blue, nose yellow, mouth left pink, right green"
_MAX_FALSE_DRAWN = 5
"""Drawn beside twice the true number; a network that has hardly learned finds hundreds, which hide the image."""


class ImageReports(Callback):
    """Writes train_batch.jpg, val_predictions.jpg and curves.png, and gives them to the loggers that take images."""

    def __init__(self, checkpoints: RunCheckpoints, *, title: str) -> None:
        self._checkpoints = checkpoints
        self._folder = checkpoints.folder
        self._title = title
        self._is_batch_drawn = False
        self._last_drawn = time.monotonic()
        self._cells: list[tuple[RgbImage, str]] = []

    @rank_zero_only
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Draws the first batch of the run."""
        if self._is_batch_drawn:
            return
        self._is_batch_drawn = True
        assert isinstance(batch, TrainingBatch)
        pairs = batch_to_images_and_labels(batch)[:_NUM_IMAGES]
        cells = [
            (_draw(image, faces), f"{Path(name).name}  {_count(faces)}")
            for (image, faces), name in zip(pairs, batch.file_names, strict=False)
        ]
        heading = f"What the network gets: {len(cells)} images of the first step, augmented; labels are blue"
        self._write_sheet(trainer, self._folder.train_batch, cells, [heading, _LEGEND])

    @rank_zero_only
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws what was found in the first few images."""
        if trainer.sanity_checking or len(self._cells) >= _NUM_IMAGES:
            return
        assert isinstance(batch, ValidationBatch)
        detections: Sequence[FaceDetections] = outputs
        for image, resizer, faces, found, name in zip(
            batch.images, batch.resizers, batch.faces, detections, batch.file_names, strict=True
        ):
            good = found.select(found.scores > _MIN_DRAWN_SCORE)  # best first
            shown = good.select(np.arange(min(len(good), 2 * len(faces) + _MAX_FALSE_DRAWN)))
            drawn = _draw(image.numpy(), map_points(faces, resizer.to_network), map_points(shown, resizer.to_network))
            self._cells.append((drawn, f"{Path(name).name}  {len(good)} found of {_count(faces)}"))

    @rank_zero_only
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes what was found."""
        cells, self._cells = self._cells[:_NUM_IMAGES], []
        if cells:
            found = f"What was found in the validation after epoch {trainer.current_epoch + 1}: orange, scores"
            heading = [f"{found} above {_MIN_DRAWN_SCORE:g}; labels are blue", _LEGEND]
            self._write_sheet(trainer, self._folder.val_predictions, cells, heading)

    @rank_zero_only
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the curves with the figures of the epochs before, where the last drawing is old."""
        if time.monotonic() - self._last_drawn > _SECONDS_BETWEEN_CURVES:
            self._write_curves(trainer)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the curves of the whole run."""
        self._write_curves(trainer)

    @rank_zero_only
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Draws the curves up to where the training was broken off."""
        self._write_curves(trainer)

    def _write_curves(self, trainer: pl.Trainer) -> None:
        self._last_drawn = time.monotonic()
        if not self._folder.metrics.is_file():
            return
        curves = {name: Curve(*points) for name, points in read_curves(self._folder.metrics).items()}
        if curves:
            draw_curves(
                curves,
                self._folder.curves,
                title=self._title,
                steps_per_epoch=max(1, int(trainer.num_training_batches)) / trainer.accumulate_grad_batches,
                start=self._checkpoints.start_figures,
            )
            self._send(trainer, self._folder.curves)

    def _write_sheet(
        self, trainer: pl.Trainer, path: Path, cells: Sequence[tuple[RgbImage, str]], heading: Sequence[str]
    ) -> None:
        images = [image for image, _ in cells]
        captions = [caption for _, caption in cells]
        cell_width = max(image.shape[1] for image in images)
        sheet = contact_sheet(
            images, captions=captions, num_columns=_NUM_COLUMNS, cell_width=cell_width, heading=heading
        )
        save_image(path, sheet, quality=90)
        self._send(trainer, path)

    def _send(self, trainer: pl.Trainer, path: Path) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.log_image(f"images/{path.stem}", path, step=trainer.global_step)


def _count(faces: FaceLabels) -> str:
    """`1 face`, `6 faces, 3 ignored`."""
    num_ignored = int(faces.ignore.sum())
    ignored = f", {num_ignored} ignored" if num_ignored else ""
    return f"{count_of(len(faces), 'face')}{ignored}"


def _draw(image: RgbImage, labels: FaceLabels, detections: FaceDetections | None = None) -> RgbImage:
    """The image, shrunk to a cell, with faces in its pixels drawn on it."""
    small, factor = shrink(image, _CELL_WIDTH)
    small = draw_faces(small, scale_faces(labels, factor))
    return small if detections is None else draw_faces(small, scale_faces(detections, factor))
