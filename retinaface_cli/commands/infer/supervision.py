"""What goes on beside the images of `infer`: its progress, and what ends it before its last image."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from types import FrameType, TracebackType

from rich.console import Console

from retinaface_cli.commands.console import ProgressBar
from retinaface_cli.detection.prediction import LostProcessError, Prediction
from retinaface_cli.process import handled_signals


class Supervision:
    """A context manager around the batches of a run, which shows how far all processes are, and stops them.

    It ends the run after the images in flight at Ctrl-C and SIGTERM; a second signal ends the first process at once.
    The first process passes the signal on to those that it has started, and all processes of a machine watch whether
    the others live.

    Attributes:
        received: the signal that came; None where none has.
    """

    def __init__(self, prediction: Prediction, console: Console) -> None:
        """Notes the processes to watch, of which the first one tells all; they come here together.

        Args:
            prediction: has begun, in all processes.
            console: for the progress, which the first process shows.
        """
        self.received: signal.Signals | None = None
        self._prediction = prediction
        process = prediction.process
        first = process.broadcast(os.getpid())
        self._parent = first if first == os.getppid() else None
        self._children = process.children
        self._bar: ProgressBar | None = None
        if process.rank == 0:
            share = f" ({process.world_size} processes)" if process.world_size > 1 else ""
            self._bar = ProgressBar(console, f"detecting{share}", total=prediction.work.num_images)
        self._open = ExitStack()

    def __enter__(self) -> Supervision:
        self._started = time.monotonic()
        if self._bar is not None:
            self._open.enter_context(self._bar)
        self._open.enter_context(handled_signals((signal.SIGINT, signal.SIGTERM), self._receive))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def follow(self) -> None:
        """Moves the bar after a batch.

        Raises:
            LostProcessError: another process of the run has ended by a crash or was killed.
        """
        if self.is_other_gone():
            raise LostProcessError(self._prediction.results.folder.root)
        if self._bar is None:
            return
        tally = self._prediction.total(with_failures=False)
        done, before = tally.num_images + tally.num_failures, tally.num_done_before
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._bar.update(done + before, done_before=before, figures=f"{rate:.1f} images/s, {tally.num_faces:,} faces")

    def is_other_gone(self) -> bool:
        """Whether a process that this one has started, or was started by, has ended, and not as one that was done."""
        is_orphan = self._parent is not None and os.getppid() != self._parent
        return is_orphan or any(child.poll() for child in self._children)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        """Asks for the end; a second signal ends the process at once, unless the first process ends it."""
        if self.received is not None and self._parent is None:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.received = signal.Signals(number)
        self._prediction.stop_requested.set()
        for child in self._children:
            child.send_signal(number)
