"""`retinaface convert-labels`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.conversion import ConversionSettings

EXAMPLES = (
    "retinaface convert-labels wider/ train.json --split train",
    "retinaface convert-labels label.txt out.json --images images/ --holdout 0.1",
    "retinaface convert-labels a.json b/ merged.json --stats-plot sizes.png",
    "retinaface convert-labels labels.json yolo/ --to yolo --images images/",
)


def convert_labels(
    ctx: typer.Context,
    given: dict[str, Any],
    console: CommandConsole,
    *,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="Write no labels: all paths are sources.")] = False,
) -> Outcome:
    """Turn labels of any known format into those that train and evaluate read, and tell what is in them.

    Every face is checked: boxes are clipped to the image, what cannot be right is corrected or marked, counted, and
    reported with its place.
    """
    paths = given.get("sources", ())
    if len(paths) < (1 if dry_run else 2):
        raise typer.BadParameter("give at least one SOURCE and OUT, or --dry-run", ctx=ctx, param_hint="SOURCE... OUT")
    from retinaface_cli.commands.convert_labels.run import run

    if not dry_run:
        given |= {"sources": paths[:-1], "output": paths[-1]}
    return Outcome(run(validate_settings(ConversionSettings, given, source="options"), console=console))


app = make_app(convert_labels, ConversionSettings, EXAMPLES, without=("output",), no_args_is_help=True)
