"""What ends a training before its last epoch: signals, losses that are no numbers, and figures that rise no more."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import Callback, EarlyStopping
from torch import Tensor

from retinaface_cli.data.batches import TrainingBatch
from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.process import handled_signals
from retinaface_cli.settings.trainer import EarlyStoppingSettings
from retinaface_cli.training.callbacks.checkpoints import RunCheckpoints
from retinaface_cli.training.module import FaceTrainingModule

_MAX_LISTED = 16


class TrainingInterruptedError(Exception):
    """A signal asked the training to stop, and its state is saved.

    Attributes:
        exit_status: of the process: 128 and the number of the signal.
    """

    def __init__(self, signum: signal.Signals, *, step: int) -> None:
        super().__init__(f"stopped by {signum.name} after step {step}")
        self.exit_status = 128 + signum


class NonFiniteLossError(RetinaFaceError):
    """The loss of a batch was no finite number."""


class FiniteLossCheck(Callback):
    """Stops the training when a loss is not finite, and names the images of its batch.

    The losses are read every few steps, so that a GPU never waits, and always before a checkpoint is written: none is
    made of spoilt weights. The loss is that of all processes, so that they stop together.
    """

    def __init__(self, *, check_every_n_steps: int) -> None:
        self._period = check_every_n_steps
        self._unchecked: list[tuple[int, Tensor, tuple[str, ...]]] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Collects the loss and, every few steps, checks those that were collected."""
        assert isinstance(batch, TrainingBatch) and isinstance(pl_module, FaceTrainingModule)
        loss = pl_module.last_loss
        self._unchecked.append((trainer.global_step, loss, batch.file_names))
        if len(self._unchecked) >= self._period or loss.device.type == "cpu":
            self._check()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Checks the losses before a checkpoint is written."""
        self._check()

    def _check(self) -> None:
        """Raises NonFiniteLossError if one of the collected losses is not finite."""
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        losses = torch.stack([loss for _, loss, _ in unchecked])
        for (step, _, file_names), loss in zip(unchecked, losses.tolist(), strict=True):
            if not -float("inf") < loss < float("inf"):
                names = ", ".join(_gather(file_names)[:_MAX_LISTED])
                raise NonFiniteLossError(f"the loss became {loss} at step {step}, in the batch of {names}")


def _gather(file_names: tuple[str, ...]) -> list[str]:
    """The images of the batches of all processes, which call it together."""
    if not (dist.is_available() and dist.is_initialized()):
        return list(file_names)
    parts: list[tuple[str, ...]] = [()] * dist.get_world_size()
    dist.all_gather_object(parts, file_names)
    return [name for part in parts for name in part]


_SIGNALS = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]
"""SIGUSR1 is what SLURM is usually told to send before the time is up."""

_STEPS_BETWEEN_TALKS = 8
"""Several processes ask each other for signals only so often, because the answer keeps a GPU waiting."""


class SignalStop(Callback):
    """Saves and stops at SIGTERM, SIGUSR1 and Ctrl-C, after the step that is running; a second Ctrl-C stops at once.

    In the last step of an epoch and in a validation it waits for the end of the epoch, so that no figure is missing
    when training goes on. It takes the place of Lightning's own handler, which saves nothing.
    """

    def __init__(self, checkpoints: RunCheckpoints) -> None:
        self._checkpoints = checkpoints
        self._received: signal.Signals | None = None
        self._is_saved = False
        self._taken_over = ExitStack()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over."""
        self._taken_over.enter_context(handled_signals(_SIGNALS, self._receive))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if a signal came in any of the processes."""
        period = trainer.accumulate_grad_batches * (1 if trainer.world_size == 1 else _STEPS_BETWEEN_TALKS)
        if (batch_idx + 1) % period == 0 and not trainer.is_last_batch and self._is_stopping(trainer):
            self._checkpoints.save_last(trainer)
            self._is_saved = True

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stops if the state is saved; by now the figures of the last step are logged."""
        if self._is_saved:
            self._stop(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops if a signal came near the end of the epoch before, when everything was saved."""
        if self._checkpoints.has_saved and self._is_stopping(trainer):
            self._stop(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives the signals back."""
        self._taken_over.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._taken_over.close()

    def _is_stopping(self, trainer: pl.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)

    def _stop(self, trainer: pl.Trainer) -> None:
        raise TrainingInterruptedError(self._received or signal.SIGTERM, step=trainer.global_step)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = signal.Signals(signum)


class StopEarly(EarlyStopping):
    """Lightning's early stopping, with the figure of the start weights as the first to beat, and a reason to print."""

    def __init__(self, settings: EarlyStoppingSettings, *, monitor: str) -> None:
        assert settings.patience is not None
        super().__init__(
            monitor=monitor,
            mode="max",
            patience=settings.patience,
            min_delta=settings.min_delta,
            check_on_train_epoch_end=False,
            strict=False,  # RunCheckpoints says in better words that a figure is missing
        )

    @property
    def reason(self) -> str | None:
        """Why the training was stopped; None where it was not."""
        if not self.stopped_epoch:
            return None
        return f"{self.monitor} has not risen above {float(self.best_score):.4f} in {self.patience} validations"

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the figure of the start weights."""
        assert isinstance(pl_module, FaceTrainingModule)
        if self.monitor in pl_module.start_figures:
            self.best_score = torch.tensor(pl_module.start_figures[self.monitor])
