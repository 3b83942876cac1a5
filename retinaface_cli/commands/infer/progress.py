"""The progress of `infer`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from retinaface_cli.commands.console import ProgressBar
from retinaface_cli.detection.prediction_module import PredictionModule


class InferProgress(pl.Callback):
    """Shows images done, images a second, faces and the time left of all processes, in the first one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = ExitStack()
        self._bar: ProgressBar | None = None
        self._started = 0.0

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock and the bar."""
        if not trainer.is_global_zero or not isinstance(pl_module, PredictionModule):
            return
        self._started = time.monotonic()
        share = f" ({trainer.world_size} processes)" if trainer.world_size > 1 else ""
        bar = ProgressBar(self._console, f"detecting{share}", total=pl_module.work.num_images)
        self._bar = self._open.enter_context(bar)

    def on_predict_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        """Moves the bar."""
        if self._bar is None or not isinstance(pl_module, PredictionModule):
            return
        tally = pl_module.total(with_failures=False)
        done = tally.num_images + tally.num_failures
        rate = done / max(time.monotonic() - self._started, 1e-9)
        figures = f"{rate:.1f} images/s, {tally.num_faces:,} faces"
        before = tally.num_done_before
        self._bar.update(done + before, done_before=before, figures=figures)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Ends the bar."""
        self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Ends the bar."""
        self._open.close()
