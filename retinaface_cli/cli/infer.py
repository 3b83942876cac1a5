"""`retinaface infer`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from retinaface_cli.cli.help import HELP_PANEL
from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.commands.loading import loading
from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.detection import InferSettings

EXAMPLES = (
    "retinaface infer photos/ --visualize",
    "retinaface infer a.jpg 'b/*.png' clip.mp4 -w best.safetensors -o out --format csv",
    "find . -name '*.jpg' | retinaface infer - -w weights.ckpt -o out --resume",
)
_PROCESSES = "--devices N and --num-nodes M, torchrun or SLURM stand in its place"
_UNUSED = {
    "world_size": _PROCESSES,
    "local_rank": _PROCESSES,
    "vis_thres": "faces above --score-threshold are drawn; retinaface visualize --min-score draws fewer",
}


class InferOptions(Settings):
    """What the command can be told beside its settings."""

    config: Annotated[str, Option(short="-c", panel=HELP_PANEL, metavar="PATH")] = ""
    """YAML file of these settings (options go before it), or a config of ternaus/retinaface."""

    list_weights: Annotated[bool, Option(panel=HELP_PANEL, is_flag=True)] = False
    """Print the published weights and exit."""

    print_config: Annotated[bool, Option(panel=HELP_PANEL, is_flag=True)] = False
    """Print all settings in force and the number of images, and exit."""


def infer(
    ctx: typer.Context,
    given: dict[str, Any],
    console: CommandConsole,
    *,
    options: InferOptions,
    input_path: Annotated[list[str] | None, typer.Option("-i", "--input-path", hidden=True)] = None,
    world_size: Annotated[int | None, typer.Option(hidden=True)] = None,
    local_rank: Annotated[int | None, typer.Option(hidden=True)] = None,
    vis_thres: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> Outcome | None:
    """Find the faces of images and videos: boxes, scores and five landmarks, as JSON and, if wished, drawn."""
    with loading():
        from retinaface_cli.commands.infer import run as command
        from retinaface_cli.commands.infer.options import describe_run, resolve_settings
        from retinaface_cli.commands.weights import print_published_weights

    if options.list_weights:
        print_published_weights(console.results)
        return None
    unused = {"world_size": world_size, "local_rank": local_rank, "vis_thres": vis_thres}
    for name, value in unused.items():
        if value is not None:
            console.print(f"--{name} is not used any more: {_UNUSED[name]}", highlight=False)
    if input_path:
        given["inputs"] = [*given.get("inputs", ()), *input_path]
    settings = resolve_settings(given, config=options.config, console=console)
    if not settings.inputs:
        raise typer.BadParameter("name images, folders or videos", ctx=ctx, param_hint="INPUTS")
    if options.print_config:
        print(describe_run(settings))
        return None
    report = command.run(settings, console=console)
    code = 1 if settings.strict and report.failures and report.is_first else report.exit_code
    return Outcome(report.describe() if report.is_first else None, code)


app = make_app(infer, InferSettings, EXAMPLES, no_args_is_help=True)
