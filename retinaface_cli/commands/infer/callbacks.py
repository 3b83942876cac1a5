"""Callbacks of `infer`: its progress, and what ends it before its last image."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from retinaface_cli.commands.console import ProgressBar
from retinaface_cli.detection.prediction_module import LostProcessError, PredictionModule
from retinaface_cli.process import handled_signals


class _ClosingCallback(pl.Callback):
    """A callback that closes what it has opened when the run ends."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes it all."""
        self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Closes it all."""
        self._open.close()


class InferProgress(_ClosingCallback):
    """Shows images done, images a second, faces and the time left of all processes, in the first one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
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


class StopOnSignals(_ClosingCallback):
    """Ends the run after the images in flight at Ctrl-C and SIGTERM; a second signal ends the first process at once.

    It takes the place of Lightning's own handler, in which the processes wait for each other, some of them for ever.
    The first process passes the signal on to those that it has started, and all processes of a machine watch whether
    the others live.

    Attributes:
        received: the signal that came; None where none has.
    """

    def __init__(self, stop_requested: threading.Event) -> None:
        """Makes the callback; the event is set when a signal comes."""
        super().__init__()
        self.received: signal.Signals | None = None
        self._stop_requested = stop_requested
        self._started: list[Any] = []
        self._parent: int | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over, and notes the processes to watch."""
        self._started = getattr(trainer.strategy.launcher, "procs", [])
        first = trainer.strategy.broadcast(os.getpid())
        self._parent = first if first == os.getppid() else None
        if isinstance(pl_module, PredictionModule):
            pl_module.is_other_gone = self._is_other_gone
        self._open.enter_context(handled_signals((signal.SIGINT, signal.SIGTERM), self._receive))

    def on_predict_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Raises LostProcessError if another process of the run has ended by a crash or was killed."""
        if self._is_other_gone() and isinstance(pl_module, PredictionModule):
            raise LostProcessError(pl_module.results.folder.root)

    def _is_other_gone(self) -> bool:
        is_orphan = self._parent is not None and os.getppid() != self._parent
        return is_orphan or any(process.poll() for process in self._started)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """Asks for the end; a second signal ends the process at once, unless the first process ends it."""
        if self.received is not None and self._parent is None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = signal.Signals(number)
        self._stop_requested.set()
        for process in self._started:
            process.send_signal(number)
