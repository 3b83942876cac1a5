"""What commands print: lines, lists of failures, counts, and progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retinaface_cli.errors import shown

Item = TypeVar("Item")

_MAX_LISTED = 5
_MAX_LINE = 10_000
_SECONDS_BETWEEN_LINES = 10.0


class NamedFailure(Protocol):
    """A file that could not be worked on, and why."""

    @property
    def name(self) -> str:
        """Of the file."""

    @property
    def reason(self) -> str:
        """What went wrong."""


def say(console: Console, text: str) -> None:
    """Prints lines as they are, without markup; control characters are escaped and reach no terminal."""
    lines = [shown(line, max_length=_MAX_LINE) for line in text.split("\n")]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def count_of(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def some_of(names: Sequence[str], *, max_listed: int = _MAX_LISTED) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - max_listed:,} more" if len(names) > max_listed else ""
    return ", ".join(map(shown, names[:max_listed])) + more


def say_failures(console: Console, heading: str, failures: Sequence[NamedFailure]) -> None:
    """Prints a heading and the first few failures; nothing where there are none."""
    if not failures:
        return
    say(console, heading)
    for failure in failures[:_MAX_LISTED]:
        say(console, f"  {shown(failure.name)}: {failure.reason}")
    if len(failures) > _MAX_LISTED:
        say(console, f"  and {len(failures) - _MAX_LISTED:,} more")


class ProgressBar:
    """A bar on a terminal, a line every ten seconds elsewhere; a context manager."""

    def __init__(self, console: Console, description: str, *, total: int) -> None:
        self._console = console
        self._description = description
        self._total = total
        self._started = self._last_line = time.monotonic()
        figures = TextColumn("{task.fields[figures]}")
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            figures,
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(description, total=total, figures="")

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, *, figures: str = "") -> None:
        """Says how many items are done, and what is known of them (`12.3 images/s, 40 faces`)."""
        self._bar.update(self._task, completed=done, figures=figures)
        now = time.monotonic()
        if self._console.is_terminal or now - self._last_line < _SECONDS_BETWEEN_LINES or not done:
            return
        self._last_line = now
        seconds_left = (now - self._started) / done * max(self._total - done, 0)
        parts = [f"{self._description}: {done:,} of {self._total:,}", figures, f"{seconds_left:.0f} s left"]
        say(self._console, ", ".join(filter(None, parts)))


def track(console: Console, description: str, items: Iterable[Item], *, total: int) -> Iterator[Item]:
    """The items as they come, with their progress."""
    with ProgressBar(console, description, total=total) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update(done)
