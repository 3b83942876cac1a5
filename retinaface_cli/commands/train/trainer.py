"""Devices, and Lightning's trainer with its callbacks, as the settings want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback
from rich.console import Console

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.precision import LIGHTNING_PRECISIONS
from retinaface_cli.settings.trainer import TrainerSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoints
from retinaface_cli.training.callbacks.images import ImageReports
from retinaface_cli.training.callbacks.progress import TrainingProgress
from retinaface_cli.training.callbacks.stopping import FiniteLossCheck, SignalStop, StopEarly
from retinaface_cli.training.loggers import RunLogger
from retinaface_cli.training.run_folder import RunFolder


def uses_cpu(settings: TrainerSettings) -> bool:
    """Whether the training runs on the CPU."""
    if settings.accelerator == "auto":
        return not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return settings.accelerator == "cpu"


def check_devices(settings: TrainerSettings) -> None:
    """Checks devices and number format, before anything is read.

    Raises:
        SettingsError: a device is not there, or does not know the number format.
    """
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if settings.accelerator in ("gpu", "cuda") and not has_gpu:
        raise SettingsError(
            f"trainer.accelerator: got {settings.accelerator}, but there is no GPU that PyTorch can use; "
            "try --accelerator cpu --devices 1 --precision 32"
        )
    if settings.precision == "16" and uses_cpu(settings):
        raise SettingsError("trainer.precision: 16 needs a GPU; on the CPU take 32 or bf16")
    if uses_cpu(settings):
        return
    num_gpus = torch.cuda.device_count() or 1
    wanted = settings.devices
    largest = max(wanted) + 1 if isinstance(wanted, tuple) else wanted if isinstance(wanted, int) else 0
    if largest > num_gpus:
        raise SettingsError(f"trainer.devices: got {wanted}, but there are {num_gpus} GPUs; try --devices auto")


def count_processes(settings: TrainerSettings) -> int:
    """Number of processes over all machines; each works on one device."""
    devices = lightning_devices(settings)
    if isinstance(devices, list):
        num_devices = len(devices)
    else:
        num_devices = devices if isinstance(devices, int) and devices > 0 else max(1, torch.cuda.device_count())
    return num_devices * settings.num_nodes


def lightning_devices(settings: TrainerSettings) -> int | str | list[int]:
    """The devices as Lightning wants them; on the CPU a device is a process."""
    if isinstance(settings.devices, tuple):
        return list(settings.devices)
    if uses_cpu(settings) and settings.devices in ("auto", -1):
        return 1
    return settings.devices


def build_callbacks(settings: TrainSettings, *, checkpoints: RunCheckpoints | None, console: Console) -> list[Callback]:
    """What happens around the steps; without checkpoints nothing is written."""
    monitor = settings.checkpoint.monitor
    callbacks: list[Callback] = [
        FiniteLossCheck(check_every_n_steps=settings.trainer.log_every_n_steps),
        TrainingProgress(images_per_batch=settings.data.batch_size, monitor=monitor, console=console),
    ]
    if settings.early_stopping.patience is not None:
        callbacks.append(StopEarly(settings.early_stopping, monitor=monitor))
    if checkpoints is not None:
        images = ImageReports(checkpoints, title=settings.experiment_name)
        callbacks += [images, SignalStop(checkpoints), checkpoints]
    return callbacks


def build_trainer(
    settings: TrainSettings,
    *,
    folder: RunFolder | None,
    callbacks: Sequence[Callback],
    loggers: Sequence[RunLogger],
    num_batches: int,
    has_validation: bool,
    validates_start: bool,
) -> pl.Trainer:
    """The trainer.

    Args:
        settings: of the run.
        folder: of the run; None: nothing is written.
        callbacks: see build_callbacks.
        loggers: where figures go.
        num_batches: training batches an epoch, so that short epochs are logged, too.
        has_validation: whether there are images to measure on.
        validates_start: whether all of the validation is done before the first step.
    """
    trainer = settings.trainer
    return pl.Trainer(
        accelerator=trainer.accelerator,
        devices=lightning_devices(trainer),
        num_nodes=trainer.num_nodes,
        strategy=trainer.strategy,
        precision=LIGHTNING_PRECISIONS[trainer.precision],
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
        num_sanity_val_steps=-1 if validates_start else trainer.num_sanity_val_steps,
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
