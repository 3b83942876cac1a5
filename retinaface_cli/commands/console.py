"""What commands print: lines, lists of failures, counts, and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, TypeVar

from rich.console import Console

from retinaface_cli.errors import shown
from retinaface_cli.settings.base import MessageSettings

Item = TypeVar("Item")

_MAX_LISTED = 5
_MAX_LINE = 10_000
_SECONDS_BETWEEN_LINES = 10.0
_PLAIN_WIDTH = 120
"""Characters a line of a table where it does not go to a terminal."""


class NamedFailure(Protocol):
    """A file that could not be worked on, and why."""

    @property
    def name(self) -> str:
        """Of the file."""

    @property
    def reason(self) -> str:
        """What went wrong."""


class CommandConsole(Console):
    """Standard error, where notes and progress go; results go to standard output.

    Attributes:
        results: standard output, where tables and other results are printed.
        lines: where a command prints all that it says if it has no other results: as results, but with --json as notes.
        is_verbose: whether lists are printed whole.
    """

    def __init__(self, messages: MessageSettings) -> None:
        super().__init__(stderr=True, quiet=messages.quiet, highlight=False)
        is_silent = messages.quiet or messages.json_output
        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        self.results = Console(quiet=is_silent, highlight=False, width=width)
        self.lines: Console = self if messages.json_output else self.results
        self.is_verbose = messages.verbose


def results_of(console: Console) -> Console:
    """Where results go that belong to these notes: to standard output."""
    if isinstance(console, CommandConsole):
        return console.results
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def listed(console: Console, items: Sequence[Item]) -> Sequence[Item]:
    """The items that are printed of a list: the first few, or all."""
    return items if isinstance(console, CommandConsole) and console.is_verbose else items[:_MAX_LISTED]


def say(console: Console, text: str) -> None:
    """Prints lines as they are, without markup; control characters are escaped and reach no terminal."""
    lines = [shown(line, max_length=_MAX_LINE) for line in text.split("\n")]
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def say_failures(console: Console, heading: str, failures: Sequence[NamedFailure], *, total: int = 0) -> None:
    """Prints a heading and the first few failures; nothing where there are none. There may be more than are given."""
    if not failures:
        return
    say(console, heading)
    few = listed(console, failures)
    for failure in few:
        say(console, f"  {shown(failure.name)}: {failure.reason}")
    num_more = max(total, len(failures)) - len(few)
    if num_more > 0:
        say(console, f"  and {num_more:,} more")


class ProgressBar:
    """A bar on a terminal, a line every ten seconds elsewhere; a context manager."""

    def __init__(self, console: Console, description: str, *, total: int | None) -> None:
        """Makes a bar; without a total it shows no time left."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # slow

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

    def update(self, done: int, *, done_before: int = 0, figures: str = "") -> None:
        """Shows how far it is.

        Args:
            done: items.
            done_before: of them, those that took no time.
            figures: what is known of them (`12.3 images/s, 40 faces`).
        """
        self._bar.update(self._task, completed=done, figures=figures)
        now = time.monotonic()
        if self._console.is_terminal or now - self._last_line < _SECONDS_BETWEEN_LINES or done <= done_before:
            return
        self._last_line = now
        of, left = "", ""
        if self._total is not None:
            seconds_left = (now - self._started) / (done - done_before) * max(self._total - done, 0)
            of, left = f" of {self._total:,}", f"{seconds_left:.0f} s left"
        say(self._console, ", ".join(filter(None, [f"{self._description}: {done:,}{of}", figures, left])))


def track(console: Console, description: str, items: Iterable[Item], *, total: int) -> Iterator[Item]:
    """The items as they come, with their progress."""
    with ProgressBar(console, description, total=total) as bar:
        for done, item in enumerate(items, 1):
            yield item
            bar.update(done)
