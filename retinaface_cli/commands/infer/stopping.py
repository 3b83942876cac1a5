"""What ends `infer` before its last image: Ctrl-C, SIGTERM, and other processes of the run that end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from retinaface_cli.detection.prediction_module import LostProcessError, PredictionModule

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignals(pl.Callback):
    """Ends the run after the images in flight at Ctrl-C and SIGTERM; a second signal ends the first process at once.

    It takes the place of Lightning's own handler, in which the processes wait for each other, some of them for ever.
    The first process passes the signal on to those that it has started, and all processes of a machine watch whether
    the others live.

    Attributes:
        received: the signal that came; None where none has.
    """

    def __init__(self, stop_requested: threading.Event) -> None:
        """Makes the callback; the event is set when a signal comes."""
        self.received: signal.Signals | None = None
        self._stop_requested = stop_requested
        self._started: list[Any] = []
        self._parent: int | None = None
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals over, and notes the processes to watch."""
        self._started = getattr(trainer.strategy.launcher, "procs", [])
        first = trainer.strategy.broadcast(os.getpid())
        self._parent = first if first == os.getppid() else None
        if isinstance(pl_module, PredictionModule):
            pl_module.is_other_gone = self._is_other_gone
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)

    def on_predict_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Raises LostProcessError if another process of the run has ended by a crash or was killed."""
        if self._is_other_gone() and isinstance(pl_module, PredictionModule):
            raise LostProcessError(pl_module.results.folder.root)

    def _is_other_gone(self) -> bool:
        is_orphan = self._parent is not None and os.getppid() != self._parent
        return is_orphan or any(process.poll() for process in self._started)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gives the signals back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._restore()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """Asks for the end; a second signal ends the process at once, unless the first process ends it."""
        if self.received is not None and self._parent is None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = signal.Signals(number)
        self._stop_requested.set()
        for process in self._started:
            process.send_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
