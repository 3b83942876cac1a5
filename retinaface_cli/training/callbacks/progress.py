"""What a running training prints: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from torch import Tensor

from retinaface_cli.training.module import FaceTrainingModule

_SECONDS_BETWEEN_UPDATES = 0.5
_SECONDS_BETWEEN_LINES = 30.0
_SMOOTHING = 0.9
_BAR_WIDTH = 52
"""Columns that epoch, bar and count take at most."""

_EXPENDABLE = ("box ", "class ", "landmark ", "step/s", "lr ", "images/s")
"""Figures that a narrow terminal does without, the first to go first."""


class StepTimer:
    """Seconds a training step takes, smoothed; the first step, with its start-up, does not count.

    Attributes:
        seconds: of one step; None before two steps are done.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._last: float | None = None

    def pause(self) -> None:
        """Leaves the time to the next tick out, because something else than training goes on."""
        self._last = None

    def tick(self, now: float) -> None:
        """Takes note of the end of a step, in seconds of any clock."""
        if self._last is not None:
            taken = now - self._last
            self.seconds = taken if self.seconds is None else _SMOOTHING * self.seconds + (1 - _SMOOTHING) * taken
        self._last = now


class TrainingProgress(ProgressBar):
    """Epoch, step/s, images/s, losses, learning rate, AP and the time that is left."""

    def __init__(self, *, images_per_batch: int, monitor: str, console: Console) -> None:
        super().__init__()
        self._console = console
        self._images_per_batch = images_per_batch
        self._monitor = monitor
        self._timer = StepTimer()
        self._validation_seconds = 0.0
        self._validation_start = 0.0
        self._last_shown = 0.0
        self._best: float | None = None
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._is_enabled = True

    def state_dict(self) -> dict[str, Any]:
        """The best score so far."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what state_dict gave."""
        self._best = state_dict["best"]

    def disable(self) -> None:
        """Shows nothing; Lightning calls it in all processes but the first."""
        self._is_enabled = False

    def enable(self) -> None:
        """Shows itself again."""
        self._is_enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Opens the bar."""
        self._timer.pause()
        if self._is_enabled and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self._console,
                refresh_per_second=4,
            )
            self._task = self._progress.add_task(self._epoch_name(trainer), total=None, figures="")
            self._progress.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the bar anew."""
        self._timer.pause()
        if self._progress is not None and self._task is not None:
            self._progress.reset(
                self._task, total=int(trainer.num_training_batches), description=self._epoch_name(trainer)
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar; figures are asked from the device only now and then."""
        now = time.monotonic()
        self._timer.tick(now)
        if not self._is_enabled:
            return
        if self._progress is not None and self._task is not None:
            if now - self._last_shown > _SECONDS_BETWEEN_UPDATES:
                self._last_shown = now
                self._progress.update(self._task, figures=self._figures_that_fit(trainer))
            self._progress.update(self._task, completed=batch_idx + 1)
        elif now - self._last_shown > _SECONDS_BETWEEN_LINES:
            self._last_shown = now
            place = f"{self._epoch_name(trainer)}, step {batch_idx + 1}/{int(trainer.num_training_batches)}"
            figures = self._list_figures(trainer, _as_numbers(trainer.callback_metrics))
            self._console.print(f"{place}: {'  '.join(figures)}", soft_wrap=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the time."""
        self._validation_start = time.monotonic()
        if self._progress is not None and self._task is not None and not trainer.sanity_checking:
            self._progress.update(self._task, description=f"{self._epoch_name(trainer)} validation")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the time."""
        if not trainer.sanity_checking:
            self._validation_seconds = time.monotonic() - self._validation_start

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line with the figures of the start weights, where all of the validation was done on them."""
        assert isinstance(pl_module, FaceTrainingModule)
        if pl_module.start_figures:
            figures = "  ".join(_list_scores(pl_module.start_figures))
            self._print_epoch(f"epoch 0/{trainer.max_epochs}: start weights  {figures}", pl_module.start_figures)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One line that stays, with the figures of the epoch and its mean losses."""
        assert isinstance(pl_module, FaceTrainingModule)
        metrics = _as_numbers({**trainer.callback_metrics, **pl_module.mean_losses()})
        figures = "  ".join(self._list_figures(trainer, metrics))
        self._print_epoch(f"{self._epoch_name(trainer)}: {figures}", metrics)
        self._last_shown = time.monotonic()

    def _print_epoch(self, line: str, metrics: Mapping[str, float]) -> None:
        score = metrics.get(self._monitor)
        is_best = score is not None and (self._best is None or score > self._best)
        if is_best:
            self._best = score
        if self._is_enabled:
            self._console.print(f"{line}{'  best so far' if is_best else ''}", soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the terminal is as it was."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _epoch_name(self, trainer: pl.Trainer) -> str:
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"

    def _figures_that_fit(self, trainer: pl.Trainer) -> str:
        """The figures that have room beside the bar; the parts of the loss and the speeds go first."""
        parts = self._list_figures(trainer, _as_numbers(trainer.callback_metrics))
        room = self._console.width - _BAR_WIDTH
        for expendable in _EXPENDABLE:
            if len("  ".join(parts)) > room:
                parts = [part for part in parts if expendable not in part]
        return "  ".join(parts)

    def _list_figures(self, trainer: pl.Trainer, metrics: Mapping[str, float]) -> list[str]:
        parts = [f"{_short(name)} {value:.3f}" for name, value in metrics.items() if _is_training_loss(name)]
        if "lr" in metrics:  # of the steps that were taken; the optimizer has that of the next one
            parts.append(f"lr {metrics['lr']:.2g}")
        parts += _list_scores(metrics)
        if self._timer.seconds:
            per_second = 1 / self._timer.seconds
            parts.append(f"{per_second:.2f} step/s")
            parts.append(f"{per_second * self._images_per_batch * trainer.world_size:.1f} images/s")
            parts.append(f"{format_duration(self._seconds_left(trainer))} left")
        return parts

    def _seconds_left(self, trainer: pl.Trainer) -> float:
        """Of the whole training, validations counted."""
        steps_an_epoch = int(trainer.num_training_batches)
        steps_of_epoch = max(0, steps_an_epoch - trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        epochs_after = (trainer.max_epochs or 0) - trainer.current_epoch - 1
        num_validations = epochs_after + (steps_of_epoch > 0)
        steps = epochs_after * steps_an_epoch + steps_of_epoch
        return steps * (self._timer.seconds or 0.0) + num_validations * self._validation_seconds


def format_duration(seconds: float) -> str:
    """A duration for people: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _as_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _is_training_loss(name: str) -> bool:
    return name.startswith("train/") and "loss" in name and not name.endswith(("_step", "_epoch"))


def _list_scores(metrics: Mapping[str, float]) -> list[str]:
    return [
        f"{_short(name)} {value:.4f}" for name, value in metrics.items() if name.startswith(("val/ap", "val/wider"))
    ]


def _short(name: str) -> str:
    """`train/box_loss` as `box`, `train/classification_loss` as `class`, `val/ap50` as `ap50`."""
    return name.rpartition("/")[2].removesuffix("_loss").replace("classification", "class")
