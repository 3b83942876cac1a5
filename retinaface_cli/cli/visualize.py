"""`retinaface visualize`."""

from __future__ import annotations

from typing import Any

import typer

from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.visualization import VisualizeSettings

EXAMPLES = (
    "retinaface visualize photos/ --predictions runs/infer/1",
    "retinaface visualize WIDER_val/images --labels wider_face_val_bbx_gt.txt --predictions out/predictions.json "
    "--grid 4",
    "retinaface visualize a.jpg --predictions out --anonymize pixelate -o public",
)


def visualize(_ctx: typer.Context, given: dict[str, Any], console: CommandConsole) -> Outcome:
    """Draw true faces, detected faces or both on images, make contact sheets of them, or hide the faces."""
    from retinaface_cli.commands.visualize import run

    report = run(validate_settings(VisualizeSettings, given, source="visualize"), console=console)
    return Outcome(report.describe(), report.exit_code)


app = make_app(visualize, VisualizeSettings, EXAMPLES, no_args_is_help=True)
