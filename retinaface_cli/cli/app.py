"""The application: names the commands, and turns errors that a user can act on into `error: ...` on stderr."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from retinaface_cli.cli.help import HelpfulGroup, dashed
from retinaface_cli.errors import RetinaFaceError, shown
from retinaface_cli.version import __version__

_HELP = "Find faces and their five landmarks with RetinaFace networks, and train, score and show them."
_COMMANDS = {
    "convert-labels": "Turn labels of any known format into those that train and evaluate read, and tell what is in "
    "them.",
    "infer": "Find the faces of images and videos: boxes, scores and five landmarks, as JSON and, if wished, drawn.",
    "train": "Train a face detector on WIDER FACE or on your own faces, or fine-tune a published one.",
    "evaluate": "Score detections against true faces: AP as WIDER FACE, COCO and VOC have it, and landmark errors.",
    "export": "Write a network as an ONNX or OpenVINO file, for infer -w and for other programs.",
    "visualize": "Draw true faces, detected faces or both on images, make contact sheets of them, or hide the faces.",
}
"""The first line of each command's help."""

_MAX_LINE = 2000
_ADVICE_WHEN_FULL = "; make room, then run the command again, with --resume where it has that"


class _CommandModules(Mapping[str, Any]):
    """The commands by name; each is loaded when it is asked for, with the settings that it has."""

    def __getitem__(self, name: str) -> Any:
        if name not in _COMMANDS:
            raise KeyError(name)
        return typer.main.get_command(import_module(f"retinaface_cli.cli.{name.replace('-', '_')}").app)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class _Commands(HelpfulGroup):
    """The commands of the application."""

    help_lines = _COMMANDS

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _CommandModules()  # type: ignore[assignment]


app = typer.Typer(
    name="retinaface",
    cls=_Commands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": dashed},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"retinaface-cli {__version__}")
        raise typer.Exit


@app.callback(help=_HELP)
def retinaface(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options before the command."""


def main() -> None:
    """Runs the command line, with the exit status that shells and schedulers expect.

    0: done; 1: `error: ...` on stderr; 2: bad usage; 130: interrupted; 143: terminated. A bug keeps its traceback.
    """
    signal.signal(signal.SIGTERM, partial(_exit_on_termination, os.getpid()))
    try:
        app()
    except (RetinaFaceError, OSError) as error:
        text = str(error)
        if os.strerror(errno.ENOSPC) in text:
            text += _ADVICE_WHEN_FULL
        for line in text.split("\n"):
            print(f"error: {shown(line, max_length=_MAX_LINE)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_on_termination(process: int, number: int, _frame: object) -> NoReturn:
    """Ends this process by an exception, so that what is half done is put away; one forked from it ends at once."""
    if os.getpid() != process:
        os._exit(128 + number)
    sys.exit(128 + number)
