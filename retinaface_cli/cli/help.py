"""The help of a command: what people use first, then the rest in groups; readable from 80 columns on."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

_MIN_WIDTH, _MAX_WIDTH = 60, 140
_NAME_PART = 0.36
"""Columns of the names, as part of all."""

_OPTIONS, _COMMANDS = "Options", "Commands"
HELP_PANEL = "Config and help"
"""Of options that print something and exit."""


class _Entry(NamedTuple):
    """An argument or option as it stands in the help."""

    panel: str
    names: str
    text: str


class _Helpful:
    """Help in two columns, so that names and values are never cut off, and with an example a line."""

    examples: tuple[str, ...] = ()
    help_lines: Mapping[str, str] = {}
    collect_usage_pieces: Any
    get_params: Any
    help: str | None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help."""
        del formatter
        console = Console(highlight=False)
        console.width = max(_MIN_WIDTH, min(_MAX_WIDTH, console.width))
        usage = " ".join([ctx.command_path, *self.collect_usage_pieces(ctx)])
        console.print(f"Usage: {usage}\n", markup=False, soft_wrap=True)
        for paragraph in _paragraphs(self.help):
            console.print(paragraph + "\n", markup=False)
        panels: dict[str, list[_Entry]] = {}
        for entry in self._list_entries(ctx):
            panels.setdefault(entry.panel, []).append(entry)
        longest = max(len(entry.names) for entries in panels.values() for entry in entries)
        width = min(longest, int(_NAME_PART * console.width))
        for panel, entries in panels.items():
            console.print(f"[bold]{panel}[/bold]")
            console.print(_make_table(entries, width))
            console.print()
        console.print("[bold]Examples[/bold]")
        for example in self.examples:
            console.print(f"  {example}", markup=False, soft_wrap=True)

    def _list_entries(self, ctx: Any) -> Iterator[_Entry]:
        """Arguments, options without a panel, those of the panels, and --help."""
        entries = [_Entry(_COMMANDS, name, line) for name, line in self.help_lines.items()]
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            names, text = (part.strip() for part in record)
            panel = getattr(parameter, "rich_help_panel", None)
            if parameter.name == "help":
                panel = HELP_PANEL
            elif parameter.param_type_name == "argument":
                panel = "Arguments"
            entries.append(_Entry(panel or _OPTIONS, _shorten(names), text.replace("\\[", "[")))
        order = {"Arguments": 0, _COMMANDS: 0, _OPTIONS: 1, HELP_PANEL: 3}
        yield from sorted(entries, key=lambda entry: order.get(entry.panel, 2))


class HelpfulCommand(_Helpful, TyperCommand):
    """A command with this help."""


class HelpfulGroup(_Helpful, TyperGroup):
    """A group of commands with this help.

    Attributes:
        help_lines: by the name of the command.
    """

    examples = ("retinaface infer photos/ --visualize", "retinaface infer --help")


def dashed(token: str) -> str:
    """Lets every option be written with underscores too (--max_size), as the older tools spelled them."""
    return token.replace("_", "-")


def _paragraphs(text: str | None) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    return [" ".join(paragraph.split()) for paragraph in textwrap.dedent(text or "").strip().split("\n\n")]


def _shorten(names: str) -> str:
    """`--x / --no-x <bool>` as `--[no-]x`."""
    return re.sub(r"--(\S+) / --no-\1", r"--[no-]\1", re.sub(r" <[\w\[\]]+>", "", names))


def _make_table(entries: list[_Entry], width: int) -> Table:
    """Names on the left, what they mean on the right."""
    table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(width=2)
    table.add_column(style="bold cyan", width=width, overflow="fold")
    table.add_column(ratio=1)
    for entry in entries:
        table.add_row("", Text("\n".join(_break(entry.names, width))), Text(entry.text))
    return table


def _break(names: str, width: int) -> Iterator[str]:
    """Lines of whole names and values, as far as these fit; values are parted by `|`."""
    line = ""
    for part in re.findall(r"[^ |]+[ |]?", names):
        if line and len(line + part.rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += part
    yield line
