"""Loading a command's libraries, which takes longer than a short command itself."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from retinaface_cli.process import handled_signals


@contextmanager
def loading() -> Iterator[None]:
    """Keeps the garbage collector and Ctrl-C off what is imported within.

    The collector would look through a million objects that all stay, again and again. An exception that Ctrl-C or
    SIGTERM raises would come up within an import, where some libraries catch it; the process ends at once instead.
    """
    num_modules = len(sys.modules)
    with handled_signals((signal.SIGINT, signal.SIGTERM), _end):
        gc.disable()
        try:
            yield
        finally:
            if len(sys.modules) > num_modules:
                gc.freeze()
            gc.enable()


def _end(number: int, _frame: object) -> NoReturn:
    os._exit(128 + number)
