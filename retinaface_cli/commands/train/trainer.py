"""Lightning's trainer and its callbacks, as the settings want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback, EarlyStopping
from rich.console import Console

from retinaface_cli.commands.train.devices import lightning_devices
from retinaface_cli.settings.trainer import TrainerSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.checkpoints import AtomicCheckpointIO, CheckpointKeeper
from retinaface_cli.training.callbacks.guards import LossGuard, SignalGuard
from retinaface_cli.training.callbacks.image_reports import ImageReports
from retinaface_cli.training.callbacks.learning_rate import LearningRateRecord
from retinaface_cli.training.callbacks.progress import TrainingProgress
from retinaface_cli.training.loggers import RunLogger
from retinaface_cli.training.run_folder import RunFolder


def build_callbacks(
    settings: TrainSettings,
    *,
    folder: RunFolder | None,
    keeper: CheckpointKeeper | None,
    console: Console,
    num_batches: int,
) -> list[Callback]:
    """What happens around the steps; without folder and keeper nothing is written."""
    monitor = settings.checkpoint.monitor
    callbacks: list[Callback] = [
        LossGuard(check_every_n_steps=settings.trainer.log_every_n_steps),
        LearningRateRecord(log_every_n_steps=_log_period(settings.trainer, num_batches)),
        TrainingProgress(images_per_batch=settings.data.batch_size, monitor=monitor, console=console),
    ]
    if settings.early_stopping.patience is not None:
        callbacks.append(
            EarlyStopping(
                monitor=monitor,
                mode="max",
                patience=settings.early_stopping.patience,
                min_delta=settings.early_stopping.min_delta,
                check_on_train_epoch_end=False,
                strict=False,  # the keeper tells of a figure that is missing, in better words
            )
        )
    if folder is not None and keeper is not None:
        callbacks += [ImageReports(folder, title=settings.experiment_name), SignalGuard(keeper), keeper]
    return callbacks


def build_trainer(
    settings: TrainSettings,
    *,
    folder: RunFolder | None,
    callbacks: Sequence[Callback],
    loggers: Sequence[RunLogger],
    num_batches: int,
    has_validation: bool,
) -> pl.Trainer:
    """The trainer.

    Args:
        settings: of the run.
        folder: of the run; None: nothing is written.
        callbacks: see build_callbacks.
        loggers: where figures go.
        num_batches: training batches an epoch, so that short epochs are logged, too.
        has_validation: whether there are images to measure on.
    """
    trainer = settings.trainer
    return pl.Trainer(
        accelerator=trainer.accelerator,
        devices=lightning_devices(trainer),
        num_nodes=trainer.num_nodes,
        strategy=trainer.strategy,
        precision=trainer.precision,
        max_epochs=trainer.max_epochs,
        gradient_clip_val=trainer.gradient_clip_norm,
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        benchmark=trainer.benchmark and not trainer.deterministic,
        deterministic=trainer.deterministic,
        check_val_every_n_epoch=trainer.val_every_n_epochs,
        log_every_n_steps=_log_period(trainer, num_batches),
        limit_train_batches=trainer.limit_train_batches,
        limit_val_batches=trainer.limit_val_batches if has_validation else 0,
        fast_dev_run=trainer.fast_dev_run,
        num_sanity_val_steps=trainer.num_sanity_val_steps,
        use_distributed_sampler=False,  # the data module shares images out itself
        callbacks=list(callbacks),
        logger=list(loggers) or False,
        default_root_dir=None if folder is None else folder.path,
        enable_checkpointing=folder is not None,
        enable_model_summary=False,
        plugins=_build_plugins(),
    )


def _build_plugins() -> list[Any]:
    """Whole checkpoints, and under SLURM nothing of Lightning's own requeueing, which has checkpoints of its own."""
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        return [AtomicCheckpointIO(), SLURMEnvironment(auto_requeue=False)]
    return [AtomicCheckpointIO()]


def _log_period(settings: TrainerSettings, num_batches: int) -> int:
    """Steps between two lines of figures; an epoch that is shorter still gets one."""
    limit = settings.limit_train_batches
    used = min(num_batches, limit) if isinstance(limit, int) else int(num_batches * limit)
    return max(1, min(settings.log_every_n_steps, used))
