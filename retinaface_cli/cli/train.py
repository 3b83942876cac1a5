"""`retinaface train`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from retinaface_cli.cli.help import HELP_PANEL, HelpfulCommand
from retinaface_cli.cli.options import Outcome, make_app
from retinaface_cli.commands.console import CommandConsole
from retinaface_cli.commands.loading import loading
from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.training import TrainSettings

EXAMPLES = (
    "retinaface train --init-config custom",
    "retinaface train custom.yaml --set optimizer.lr=0.002 --max-epochs 50",
    "retinaface train custom.yaml -w best.safetensors",
    "retinaface train --resume last",
)


class TrainOptions(Settings):
    """What the command can be told beside its settings."""

    config: Annotated[str | None, Option(is_argument=True)] = None
    """YAML file of settings; also a config of ternaus/retinaface, as it is."""

    set_values: Annotated[tuple[str, ...], Option(name="--set", metavar="KEY=VALUE")] = ()
    """Another value for any setting, e.g. optimizer.lr=0.01 or data.train.0.labels=a.json; as often as needed."""

    resume: Annotated[str | None, Option(metavar="[PATH|last]")] = None
    """Go on with an interrupted run: its newest checkpoint, a checkpoint, or a run's folder."""

    init_config: Annotated[str | None, Option(metavar="mobilenet0.25|resnet50|custom")] = None
    """Write a commented config to start from (to CONFIG, or NAME.yaml) and exit."""

    print_config: Annotated[bool, Option(panel=HELP_PANEL, is_flag=True)] = False
    """Print all settings in force, with comments, and exit."""


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
    options: TrainOptions,
    config_path: Annotated[str | None, typer.Option("-c", "--config", hidden=True)] = None,
) -> Outcome | None:
    """Train a face detector on WIDER FACE or on your own faces, or fine-tune a published one."""
    config = options.config or config_path
    if options.init_config is not None:
        from retinaface_cli.commands.train.options import write_starter_config

        write_starter_config(options.init_config, config, console=console.lines)
        return None
    with loading():
        from retinaface_cli.commands.train.options import resolve_request

    request = resolve_request(given, config=config, set_values=options.set_values, resume=options.resume)
    if options.print_config:
        from retinaface_cli.commands.train.options import describe_config

        print(describe_config(request), end="")
        return None
    with loading():
        from retinaface_cli.commands.train import run as command

    return Outcome(command.run(request, console=console.lines))


app = make_app(train, TrainSettings, EXAMPLES, no_args_is_help=True, command_class=TrainCommand)
