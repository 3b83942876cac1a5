"""The process: cores, signals, and the garbage collector."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from retinaface_cli.process import handled_signals, without_garbage_collection


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no cores can be taken from a process here")
def test_cores_that_the_process_may_not_use_do_not_count() -> None:
    code = (
        "import os; from retinaface_cli.process import num_cores\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(num_cores())"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "1\n"


def test_signals_are_taken_while_the_block_runs_and_given_back() -> None:
    taken: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with handled_signals([signal.SIGTERM], lambda number, _: taken.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert taken == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_takes_no_signals() -> None:
    seen: list[object] = []

    def run() -> None:
        with handled_signals([signal.SIGTERM], lambda *_: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_the_collector_rests_and_is_as_it_was_then(switch: Callable[[], None]) -> None:
    switch()
    before = gc.isenabled()
    try:
        with pytest.raises(ZeroDivisionError), without_garbage_collection():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() is before
    finally:
        gc.enable()
