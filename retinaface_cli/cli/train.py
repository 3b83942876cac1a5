"""`retinaface train`: its options and help."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from retinaface_cli.cli.options import given_options

_START = "Start"
_CONFIG = "Settings"
_RUN = "Devices and length"

EPILOG = (
    "Examples: [bold]retinaface train --init-config custom[/bold] | "
    "[bold]retinaface train custom.yaml --set optimizer.lr=0.002 --max-epochs 50[/bold] | "
    "[bold]retinaface train custom.yaml -w best.safetensors[/bold] | "
    "[bold]retinaface train --resume last[/bold]"
)


class TrainCommand(TyperCommand):
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
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            show_default=False,
            help="YAML file of settings; also a config of ternaus/retinaface, as it is.",
        ),
    ] = None,
    config_path: Annotated[
        str | None, typer.Option("-c", "--config-path", hidden=True, help="CONFIG, in the old spelling.")
    ] = None,
    set_values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            rich_help_panel=_CONFIG,
            show_default=False,
            help="Another value for one setting, e.g. optimizer.lr=0.01; as often as needed.",
        ),
    ] = None,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config", rich_help_panel=_CONFIG, help="Print all settings in force, with comments, and exit."
        ),
    ] = False,
    init_config: Annotated[
        str | None,
        typer.Option(
            "--init-config",
            metavar="mobilenet0.25|resnet50|custom",
            rich_help_panel=_CONFIG,
            show_default=False,
            help="Write a commented starter config (to CONFIG, or NAME.yaml) and exit.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "-w",
            "--weights",
            rich_help_panel=_START,
            show_default=False,
            help="Fine-tune from a checkpoint, anything that `infer -w` takes; heads and anchors may differ.",
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[PATH|last]",
            rich_help_panel=_START,
            show_default=False,
            help="Go on with an interrupted run: its newest checkpoint, a checkpoint, or a run's folder.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=_START,
            show_default="runs/train/<experiment_name>",
            help="Folder of the run.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, rich_help_panel=_START, show_default=False, help="Start of all random numbers."),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option("--max-epochs", min=1, rich_help_panel=_RUN, show_default=False, help="Epochs to train."),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="auto|N|0,1",
            rich_help_panel=_RUN,
            show_default=False,
            help="Number of devices on each machine, or their indices; auto: all that are there.",
        ),
    ] = None,
    num_nodes: Annotated[
        int | None,
        typer.Option(
            "--num-nodes",
            min=1,
            rich_help_panel=_RUN,
            show_default=False,
            help="Machines; start the command on each with torchrun or SLURM.",
        ),
    ] = None,
    accelerator: Annotated[
        str | None,
        typer.Option(
            "--accelerator",
            metavar="auto|cpu|gpu|mps",
            rich_help_panel=_RUN,
            show_default=False,
            help="Kind of device.",
        ),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="auto|ddp",
            rich_help_panel=_RUN,
            show_default=False,
            help="How several devices work together.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="32|bf16|16",
            rich_help_panel=_RUN,
            show_default=False,
            help="Number format of the network; losses stay in 32 bit.",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", rich_help_panel=_RUN, help="The same as --precision 16.")] = False,
    fast_dev_run: Annotated[
        bool,
        typer.Option(
            "--fast-dev-run", rich_help_panel=_RUN, help="Run one batch of training and validation and write nothing."
        ),
    ] = False,
    limit_train_batches: Annotated[
        str | None,
        typer.Option(
            "--limit-train-batches",
            metavar="N|PART",
            rich_help_panel=_RUN,
            show_default=False,
            help="Training batches an epoch: 50, or 0.1 of all.",
        ),
    ] = None,
    limit_val_batches: Annotated[
        str | None,
        typer.Option(
            "--limit-val-batches",
            metavar="N|PART",
            rich_help_panel=_RUN,
            show_default=False,
            help="Validation batches: 50, or 0.1 of all; 0: no validation.",
        ),
    ] = None,
) -> None:
    """Train a face detector on WIDER FACE or on your own faces, or fine-tune a published one."""
    if init_config is not None:
        from retinaface_cli.commands.train.options import write_starter_config

        write_starter_config(init_config, config or config_path)
        return
    from retinaface_cli.commands.train.options import resolve_request

    request = resolve_request(given_options(ctx))
    if print_config:
        from retinaface_cli.commands.train.options import describe_config

        print(describe_config(request), end="")
        return
    from retinaface_cli.commands.train import run as command

    command.run(request)
