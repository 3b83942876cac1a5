"""`retinaface export`."""

from __future__ import annotations

from typing import Any

import typer

from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.commands.loading import loading
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.export import ExportSettings

EXAMPLES = (
    "retinaface export mobilenet0.25 -o face.onnx",
    "retinaface export best.safetensors -o face.xml --half",
    "retinaface export weights.pth -o face.onnx --end2end --size 480 640 --score-threshold 0.5",
)


def export(_ctx: typer.Context, given: dict[str, Any], console: CommandConsole) -> Outcome:
    """Write a network as an ONNX or OpenVINO file, for infer -w and for other programs.

    Images go in as they are: uint8, RGB, (batch, height, width, 3). Raw heads come out, or with --end2end faces.

    Before the file is written, what it computes is compared with torch.
    """
    with loading():
        from retinaface_cli.commands.export import run

    settings = validate_settings(ExportSettings, given, source="export")
    difference = run(settings, console=console)
    files = [{"path": str(file), "bytes": file.stat().st_size} for file in settings.files]
    facts = {"folder": str(settings.files[0].parent), "files": files}
    return Outcome({**facts, "difference": {"score": difference.score, "pixels": difference.pixels}})


app = make_app(export, ExportSettings, EXAMPLES, no_args_is_help=True)
