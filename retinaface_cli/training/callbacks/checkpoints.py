"""Writing checkpoints: the last, the best, and those kept for good; each complete in itself and never half written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only

from retinaface_cli.errors import SettingsError
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.model.checkpoints.loading import save_weights
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.module import FaceTrainingModule
from retinaface_cli.training.run_folder import RunFolder
from retinaface_cli.version import __version__


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that a killed process never leaves half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the checkpoint to the path."""
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint; one that holds code is refused."""
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
        return checkpoint


class RunCheckpoints(Checkpoint):
    """Writes last.ckpt, best.ckpt with best.safetensors, and an epoch-*.ckpt now and then.

    The best epoch is the first with the highest `checkpoint.monitor`, the start weights of a fine-tuning counted as
    epoch 0; without validation it is the last. Lightning's ModelCheckpoint would write best and last one after the
    other, and neither all at once.

    Attributes:
        folder: of the run.
        best_score: of the best epoch; None before the first validation.
        best_epoch: its number, from 1; 0 for the start weights.
        start_figures: of the start weights, in a resumed run too; empty where they were not measured.
    """

    def __init__(self, folder: RunFolder, settings: TrainSettings, *, data_fingerprint: str) -> None:
        self.folder = folder
        self._settings = settings
        self._data_fingerprint = data_fingerprint
        self._is_validated = False
        self.has_saved = False
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.start_figures: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """Which epoch was best, and where the training started."""
        names = ("best_score", "best_epoch", "start_figures")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what state_dict gave."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self.start_figures = state_dict.get("start_figures", {})

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Puts into a checkpoint what `infer -w` needs to use it without a config."""
        assert isinstance(pl_module, FaceTrainingModule)
        checkpoint["retinaface"] = {
            "version": __version__,
            "network": self._settings.network.model_dump(mode="json"),
            "weights_prefix": pl_module.detection_weights_prefix,
            "settings": self._settings.model_dump(mode="json"),
            "training": self._describe_training(trainer, pl_module),
        }

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes last.ckpt every so many steps; not after the last of an epoch, whose validation comes first."""
        period = self._settings.checkpoint.every_n_steps
        is_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch
        if period is not None and is_step and trainer.global_step % period == 0:
            self.save_last(trainer)

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes the start weights as the best so far, where all of the validation was done on them."""
        assert isinstance(pl_module, FaceTrainingModule)
        score = pl_module.start_figures.get(self._settings.checkpoint.monitor)
        if score is not None:
            self.start_figures = pl_module.start_figures
            self.best_score, self.best_epoch = score, 0
            self.save_last(trainer)
            self._write_best(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Notes that there is a fresh score."""
        self._is_validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Writes last.ckpt and, where this epoch is the best, best.ckpt and best.safetensors."""
        assert isinstance(pl_module, FaceTrainingModule)
        is_best = self._judge(trainer)
        self._is_validated = False
        self.save_last(trainer)
        if is_best:
            self._write_best(trainer, pl_module)
        period = self._settings.checkpoint.keep_every_n_epochs
        if period is not None and (trainer.current_epoch + 1) % period == 0:
            self._copy_last(self.folder.checkpoints / f"epoch-{trainer.current_epoch + 1:04d}.ckpt")

    def save_last(self, trainer: pl.Trainer) -> None:
        """Writes last.ckpt; all processes must call it together."""
        trainer.save_checkpoint(self.folder.last)
        self.has_saved = True

    def _judge(self, trainer: pl.Trainer) -> bool:
        """Whether this epoch is the best so far.

        Raises:
            SettingsError: the figure that says so does not exist.
        """
        epoch = trainer.current_epoch + 1
        if self._is_without_score(trainer):
            self.best_epoch = epoch
            return True
        if not self._is_validated:
            return False
        monitor = self._settings.checkpoint.monitor
        if monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val/")))
            raise SettingsError(f"checkpoint.monitor: got {monitor}, which is not measured; known: {known}")
        score = float(trainer.callback_metrics[monitor])
        if self.best_score is not None and score <= self.best_score:
            return False
        self.best_score, self.best_epoch = score, epoch
        return True

    def _is_without_score(self, trainer: pl.Trainer) -> bool:
        """Whether no epoch of this run is ever measured: there is no validation, or none with faces."""
        has_validation = trainer.num_val_batches and sum(trainer.num_val_batches) > 0
        return not has_validation or (
            self._is_validated and not any(name.startswith("val/") for name in trainer.callback_metrics)
        )

    @rank_zero_only
    def _write_best(self, trainer: pl.Trainer, module: FaceTrainingModule) -> None:
        self._copy_last(self.folder.best)
        save_weights(
            self.folder.best_weights,
            module.detection_state(),
            network=self._settings.network,
            training=self._describe_training(trainer, module),
        )

    @rank_zero_only
    def _copy_last(self, path: Path) -> None:
        """A second name for last.ckpt, which is replaced and never written into; a copy where there are no links."""
        with atomic_path(path) as temporary:
            temporary.unlink()
            try:
                os.link(self.folder.last, temporary)
            except OSError:
                shutil.copyfile(self.folder.last, temporary)

    def _describe_training(self, trainer: pl.Trainer, module: FaceTrainingModule) -> Mapping[str, Any]:
        """What goes into a weights file about how it came about."""
        is_start = trainer.global_step == 0
        figures = module.start_figures if is_start else trainer.callback_metrics
        scores = {name: float(value) for name, value in figures.items() if name.startswith("val/")}
        return {
            "experiment_name": self._settings.experiment_name,
            "epoch": 0 if is_start else trainer.current_epoch + 1,
            "step": trainer.global_step,
            "scores": scores,
            "data_fingerprint": self._data_fingerprint,
            "image_size": self._settings.data.image_size,
            "version": __version__,
        }
