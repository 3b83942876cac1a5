"""The application: registers the sub-commands and turns errors that a user can mend into one line on stderr."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from retinaface_cli.cli import convert_labels, evaluate, infer, train, visualize
from retinaface_cli.cli.options import normalize_option
from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.version import __version__

app = typer.Typer(
    name="retinaface",
    help="Find faces and their five landmarks with RetinaFace networks, and train, score and show them.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": normalize_option},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"retinaface-cli {__version__}")
        raise typer.Exit


@app.callback()
def retinaface(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find faces and their five landmarks with RetinaFace networks, and train, score and show them."""


app.command(no_args_is_help=True, epilog=convert_labels.EPILOG)(convert_labels.convert_labels)
app.command(no_args_is_help=True, epilog=infer.EPILOG)(infer.infer)
app.command(no_args_is_help=True, epilog=train.EPILOG, cls=train.TrainCommand)(train.train)
app.command(epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command(no_args_is_help=True, epilog=visualize.EPILOG)(visualize.visualize)


def main() -> None:
    """Runs the command line; errors of RetinaFaceError become `error: ...` on stderr and exit status 1."""
    try:
        app()
    except RetinaFaceError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
