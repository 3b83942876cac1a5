"""`retinaface infer`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from retinaface_cli.cli.help import HELP_PANEL
from retinaface_cli.cli.options import Fp16, Outcome
from retinaface_cli.commands.console import CommandConsole

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


Config = Annotated[
    str,
    typer.Option(
        "-c",
        "--config",
        show_default=False,
        rich_help_panel=HELP_PANEL,
        help="YAML file of these settings (options go before it), or a config of ternaus/retinaface.",
    ),
]
ListWeights = Annotated[
    bool,
    typer.Option("--list-weights", rich_help_panel=HELP_PANEL, help="Print the published weights and exit."),
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config",
        rich_help_panel=HELP_PANEL,
        help="Print all settings in force and the number of images, and exit.",
    ),
]


def infer(
    ctx: typer.Context,
    given: dict[str, Any],
    console: CommandConsole,
    *,
    config: Config = "",
    list_weights: ListWeights = False,
    print_config: PrintConfig = False,
    fp16: Fp16 = False,
    origin_size: Annotated[bool, typer.Option("--origin-size", hidden=True)] = False,
    input_path: Annotated[list[str] | None, typer.Option("-i", "--input-path", hidden=True)] = None,
    world_size: Annotated[int | None, typer.Option(hidden=True)] = None,
    local_rank: Annotated[int | None, typer.Option(hidden=True)] = None,
    vis_thres: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> Outcome | None:
    """Find the faces of images and videos: boxes, scores and five landmarks, as JSON and, if wished, drawn."""
    from retinaface_cli.commands.infer import run as command
    from retinaface_cli.commands.infer.options import describe_run, resolve_settings
    from retinaface_cli.commands.weights import print_published_weights

    if list_weights:
        print_published_weights(console.results)
        return None
    unused = {"world_size": world_size, "local_rank": local_rank, "vis_thres": vis_thres}
    for name, value in unused.items():
        if value is not None:
            console.print(f"--{name} is not used any more: {_UNUSED[name]}", highlight=False)
    if fp16:
        given["precision"] = "16"
    if origin_size:
        given["max_size"] = "original"
    if input_path:
        given["inputs"] = [*given.get("inputs", ()), *input_path]
    settings = resolve_settings(given, config=config, console=console)
    if not settings.inputs:
        raise typer.BadParameter("name images, folders or videos", ctx=ctx, param_hint="INPUTS")
    if print_config:
        print(describe_run(settings))
        return None
    report = command.run(settings, console=console)
    code = 1 if settings.strict and report.failures and report.is_first else report.exit_code
    return Outcome(report.describe() if report.is_first else None, code)
