"""The progress of `infer`: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from retinaface_cli.detection.prediction_module import PredictionModule

_SECONDS_BETWEEN_LINES = 10.0


class InferProgress(pl.Callback):
    """Shows images done, images a second, faces and the time left of all processes, in the first one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._started = self._last_line = 0.0
        self._task: TaskID | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock and, on a terminal, the bar."""
        if not trainer.is_global_zero or not isinstance(pl_module, PredictionModule):
            return
        self._started = self._last_line = time.monotonic()
        share = f" ({trainer.world_size} processes)" if trainer.world_size > 1 else ""
        self._task = self._bar.add_task(f"detecting{share}", total=pl_module.work.num_images, figures="")
        if self._console.is_terminal:
            self._bar.start()

    def on_predict_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Moves the bar, or prints a line if the last is some time ago."""
        if self._task is None or not isinstance(pl_module, PredictionModule):
            return
        tally = pl_module.total(with_failures=False)
        done_now = tally.num_images + tally.num_failures
        done = done_now + tally.num_done_before
        now = time.monotonic()
        rate = done_now / max(now - self._started, 1e-9)
        figures = f"{rate:.1f} images/s, {tally.num_faces} faces"
        self._bar.update(self._task, completed=done, figures=figures)
        if not self._console.is_terminal and now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            total = self._bar.tasks[0].total
            if total is None or rate == 0:
                self._console.print(f"{done}: {figures}")
            else:
                self._console.print(f"{done} of {total:.0f}: {figures}, {max(total - done, 0) / rate:.0f} s left")

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends the bar."""
        if self._console.is_terminal:
            self._bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ends the bar."""
        if self._console.is_terminal:
            self._bar.stop()
