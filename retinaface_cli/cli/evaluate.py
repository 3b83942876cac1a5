"""`retinaface evaluate`."""

from __future__ import annotations

from typing import Any

import typer

from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.commands.loading import loading
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.evaluation import EvaluateSettings

EXAMPLES = (
    "retinaface evaluate --predictions out/ --labels wider/ground_truth",
    "retinaface evaluate -w best.safetensors --images val/ --labels val.json --scale 640",
    "retinaface evaluate --predictions a.json --predictions b.json --labels val.json --worst 12",
    "retinaface evaluate runs/train/mine/config.yaml",
    "retinaface evaluate    # the newest training run",
)


def evaluate(ctx: typer.Context, given: dict[str, Any], console: CommandConsole) -> Outcome | None:
    """Score detections against true faces: AP as WIDER FACE, COCO and VOC have it, and landmark errors."""
    with loading():
        from retinaface_cli.commands.evaluate import run as command

    if not given.keys() & {"training", "predictions", "labels", "weights"}:
        with loading():
            from retinaface_cli.commands.evaluate.detection import find_newest_run

        newest = find_newest_run()
        if newest is None:
            print(ctx.get_help())
            print("There is no training run under runs/train to score; name predictions or weights, and labels.")
            return None
        given["training"] = newest
    report = command.run(validate_settings(EvaluateSettings, given, source="evaluate"), console=console)
    return None if report is None else Outcome({"folder": str(report.output), **report.content})


app = make_app(evaluate, EvaluateSettings, EXAMPLES)
