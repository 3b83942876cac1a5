from __future__ import annotations

import io

import pytest
from rich.console import Console

from retinaface_cli.commands import console as module
from retinaface_cli.commands.console import ProgressBar, track


class Clock:
    """Stands in for time.monotonic."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_without_a_terminal_a_line_comes_every_ten_seconds(clock: Clock) -> None:
    console = Console(file=io.StringIO(), record=True, width=100)
    with ProgressBar(console, "drawing", total=2000) as bar:
        for done in range(0, 2001, 100):
            clock.now = done / 100
            bar.update(done, figures="x")
    assert console.export_text().splitlines() == [
        "drawing: 1,000 of 2,000, x, 10 s left",
        "drawing: 2,000 of 2,000, x, 0 s left",
    ]


def test_what_was_done_before_takes_no_time_and_without_a_total_nothing_is_left(clock: Clock) -> None:
    console = Console(file=io.StringIO(), record=True, width=100)
    with ProgressBar(console, "a", total=1010) as bar, ProgressBar(console, "b", total=None) as endless:
        clock.now = 20.0
        bar.update(1000, done_before=990)
        endless.update(7)
        bar.update(1000, done_before=1000)
    assert console.export_text().splitlines() == ["a: 1,000 of 1,010, 20 s left", "b: 7"]


def test_items_are_tracked_as_they_come() -> None:
    console = Console(file=io.StringIO(), record=True, width=100)
    assert list(track(console, "c", iter("xyz"), total=3)) == ["x", "y", "z"]
    assert console.export_text() == ""
