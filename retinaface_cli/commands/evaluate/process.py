"""Work done beside the main process, so that both cores are used."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Generic, NamedTuple, TypeVar

Result = TypeVar("Result")


class _Answer(NamedTuple):
    """What a function gave: its value or its error."""

    value: object
    error: Exception | None


class SideTask(Generic[Result]):
    """A function that runs in a forked process from now on; where that is not safe, when its result is asked for.

    The function and its arguments are not copied; its result comes back pickled.
    """

    def __init__(self, function: Callable[[], Result]) -> None:
        """Starts the function."""
        self._function = function
        self._process: ForkProcess | None = None
        if not _can_fork():
            return
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_run, args=(function, sender), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of the linear algebra library are at rest
            self._process.start()
        sender.close()

    def result(self) -> Result:
        """Waits for the function, and returns its value or raises its error; to be called once."""
        if self._process is None:
            return self._function()
        try:
            answer: _Answer = self._receiver.recv()
        except EOFError:  # the process was killed, for want of memory perhaps: try without it
            return self._function()
        finally:
            self._receiver.close()
            self._process.join()
        if answer.error is not None:
            raise answer.error
        return answer.value  # type: ignore[return-value]


def _can_fork() -> bool:
    """Whether a copy of this process would run: other systems, other threads and torch's own threads forbid it."""
    return sys.platform == "linux" and threading.active_count() == 1 and "torch" not in sys.modules


def _run(function: Callable[[], object], sender: Connection) -> None:
    """Runs the function in the forked process and sends what it gives."""
    try:
        answer = _Answer(function(), None)
    except Exception as error:
        answer = _Answer(None, error)
    sender.send(answer)
    sender.close()
