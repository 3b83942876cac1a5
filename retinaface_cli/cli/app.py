"""The application: registers the commands, and turns errors that a user can act on into `error: ...` on stderr."""

from __future__ import annotations

import errno
import os
import signal
import sys
from functools import partial
from typing import Annotated, NoReturn

import typer

from retinaface_cli.cli import convert_labels, evaluate, export, infer, train, visualize
from retinaface_cli.cli.help import HelpfulGroup
from retinaface_cli.cli.options import add_command, dashed
from retinaface_cli.errors import RetinaFaceError, shown
from retinaface_cli.settings.conversion import ConversionSettings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.settings.export import ExportSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.settings.visualization import VisualizeSettings
from retinaface_cli.version import __version__

_HELP = "Find faces and their five landmarks with RetinaFace networks, and train, score and show them."
_MAX_LINE = 2000
_ADVICE_WHEN_FULL = "; make room, then run the command again, with --resume where it has that"

app = typer.Typer(
    name="retinaface",
    cls=HelpfulGroup,
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


add_command(
    app,
    convert_labels.convert_labels,
    ConversionSettings,
    convert_labels.EXAMPLES,
    without=("output",),
    no_args_is_help=True,
)
add_command(app, infer.infer, InferSettings, infer.EXAMPLES, no_args_is_help=True)
add_command(app, train.train, TrainSettings, train.EXAMPLES, no_args_is_help=True, command_class=train.TrainCommand)
add_command(app, evaluate.evaluate, EvaluateSettings, evaluate.EXAMPLES)
add_command(app, export.export, ExportSettings, export.EXAMPLES, no_args_is_help=True)
add_command(app, visualize.visualize, VisualizeSettings, visualize.EXAMPLES, no_args_is_help=True)


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
