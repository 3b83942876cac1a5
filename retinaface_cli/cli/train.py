"""`retinaface train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from retinaface_cli.cli.help import HELP_PANEL, HelpfulCommand
from retinaface_cli.cli.options import Fp16, Outcome
from retinaface_cli.commands.console import CommandConsole

EXAMPLES = (
    "retinaface train --init-config custom",
    "retinaface train custom.yaml --set optimizer.lr=0.002 --max-epochs 50",
    "retinaface train custom.yaml -w best.safetensors",
    "retinaface train --resume last",
)


Config = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        show_default=False,
        help="YAML file of settings; also a config of ternaus/retinaface, as it is.",
    ),
]
SetValues = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        show_default=False,
        help="Another value for any setting, e.g. optimizer.lr=0.01 or data.train.0.labels=a.json; as often as needed.",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="[PATH|last]",
        show_default=False,
        help="Go on with an interrupted run: its newest checkpoint, a checkpoint, or a run's folder.",
    ),
]
InitConfig = Annotated[
    str | None,
    typer.Option(
        "--init-config",
        metavar="mobilenet0.25|resnet50|custom",
        show_default=False,
        help="Write a commented config to start from (to CONFIG, or NAME.yaml) and exit.",
    ),
]
PrintConfig = Annotated[
    bool,
    typer.Option(
        "--print-config", rich_help_panel=HELP_PANEL, help="Print all settings in force, with comments, and exit."
    ),
]


class TrainCommand(HelpfulCommand):
    """Lets --resume stand without a value, which means `last`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `last` behind a bare --resume."""
        completed: list[str] = []
        for arg, following in zip(args, [*args[1:], "-"], strict=False):
            completed.append(arg)
            if arg == "--resume" and following.startswith("-"):
                completed.append("last")
        return super().parse_args(ctx, completed)


def train(
    _ctx: typer.Context,
    given: dict[str, Any],
    console: CommandConsole,
    *,
    config: Config = None,
    config_path: Annotated[str | None, typer.Option("-c", "--config", hidden=True)] = None,
    set_values: SetValues = None,
    resume: Resume = None,
    init_config: InitConfig = None,
    print_config: PrintConfig = False,
    fp16: Fp16 = False,
) -> Outcome | None:
    """Train a face detector on WIDER FACE or on your own faces, or fine-tune a published one."""
    if init_config is not None:
        from retinaface_cli.commands.train.options import write_starter_config

        write_starter_config(init_config, config or config_path, console=console.lines)
        return None
    from retinaface_cli.commands.train.options import resolve_request

    if fp16:
        given["trainer.precision"] = "16"
    request = resolve_request(given, config=config or config_path, set_values=set_values or (), resume=resume)
    if print_config:
        from retinaface_cli.commands.train.options import describe_config

        print(describe_config(request), end="")
        return None
    from retinaface_cli.commands.train import run as command

    return Outcome(command.run(request, console=console.lines))
