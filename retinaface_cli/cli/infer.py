"""`retinaface infer`: its options and help."""

from __future__ import annotations

from typing import Annotated

import typer

from retinaface_cli.cli.options import given_options

_MODEL = "Weights"
_DETECTION = "Detection"
_OUTPUT = "Output"
_RUN = "Devices and speed"

EPILOG = (
    "Examples: [bold]retinaface infer photos/ --visualize[/bold] | "
    "[bold]retinaface infer a.jpg 'b/*.png' clip.mp4 -w best.safetensors -o out --format csv[/bold] | "
    "[bold]find . -name '*.jpg' | retinaface infer - -w weights.ckpt -o out --resume[/bold]"
)


def infer(
    ctx: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Images, videos, folders (with all below), globs, @list.txt, or - for paths on standard input.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "-w",
            "--weights",
            "--weight-path",
            rich_help_panel=_MODEL,
            help="A checkpoint of any RetinaFace family (.safetensors, .ckpt, .pth, .tar, .zip), or a published name.",
        ),
    ] = "mobilenet0.25",
    list_weights: Annotated[
        bool, typer.Option("--list-weights", rich_help_panel=_MODEL, help="Print the published weights and exit.")
    ] = False,
    preprocessing: Annotated[
        str,
        typer.Option(
            rich_help_panel=_MODEL,
            show_default="known files by sha256, else by backbone",
            help="How the images of an old checkpoint were prepared: imagenet-rgb or mean-bgr.",
        ),
    ] = "",
    anchors: Annotated[
        str,
        typer.Option(
            rich_help_panel=_MODEL,
            show_default="[[16,32],[64,128],[256,512]]",
            help="Anchor sizes of an old checkpoint that has others (pixels, a list a level), "
            "e.g. [[10,20],[32,64],[128,256]].",
        ),
    ] = "",
    max_size: Annotated[
        str,
        typer.Option(
            "-m",
            "--max-size",
            rich_help_panel=_DETECTION,
            help="Longest side (pixels) at which images go through the network; 0 or original: as they are.",
        ),
    ] = "960",
    upscale: Annotated[
        bool,
        typer.Option(rich_help_panel=_DETECTION, help="Whether smaller images are enlarged to --max-size."),
    ] = True,
    multi_scale: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DETECTION,
            metavar="auto|off",
            help="auto: a second, small look at large images, for faces that fill them (costs time).",
        ),
    ] = "auto",
    double_check: Annotated[
        bool,
        typer.Option(
            "--double-check/--no-double-check",
            rich_help_panel=_DETECTION,
            help="Look again, from close by, at faces of which the network is in doubt, and score them by both looks.",
        ),
    ] = True,
    confidence_threshold: Annotated[
        float, typer.Option(min=0, max=1, rich_help_panel=_DETECTION, help="Faces must score above it (0 to 1).")
    ] = 0.7,
    nms_threshold: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_DETECTION,
            help="Overlap (IoU, 0 to 1) above which the weaker of two boxes is dropped.",
        ),
    ] = 0.4,
    nms_inclusive: Annotated[
        bool,
        typer.Option(
            "--nms-inclusive",
            rich_help_panel=_DETECTION,
            help="Count box sides as x2 - x1 + 1 in the overlap, as the old WIDER evaluation scripts do.",
        ),
    ] = False,
    box_voting: Annotated[
        bool | None,
        typer.Option(
            "--box-voting/--no-box-voting",
            rich_help_panel=_DETECTION,
            show_default="yes; with --nms-inclusive no",
            help="Whether a face gets the mean of all boxes that the suppression takes for it, weighted by the cube of "
            "their scores, instead of the best one; without effect with --tta.",
        ),
    ] = None,
    keep_top_k: Annotated[
        int, typer.Option(min=1, rich_help_panel=_DETECTION, help="Largest number of faces in an image.")
    ] = 750,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            "--output-path",
            rich_help_panel=_OUTPUT,
            show_default="runs/infer/1, 2, 3, ...",
            help="Folder for the results.",
        ),
    ] = "",
    visualize: Annotated[
        bool,
        typer.Option(
            "-v", "--visualize", rich_help_panel=_OUTPUT, help="Also draw the faces on the images and videos."
        ),
    ] = False,
    output_format: Annotated[
        str,
        typer.Option(
            "--format",
            rich_help_panel=_OUTPUT,
            metavar="json|jsonl|coco|wider|csv",
            help="A further file of all results beside predictions.json.",
        ),
    ] = "json",
    coco_ids: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_OUTPUT,
            metavar="LABELS.json",
            show_default="numbers in names, or 1, 2, ...",
            help="COCO labels from which --format coco takes the image ids.",
        ),
    ] = None,
    crops: Annotated[
        str,
        typer.Option(
            rich_help_panel=_OUTPUT,
            metavar="aligned|margin",
            show_default="none",
            help="Also write each face as a file: upright by its landmarks, 112 px, or cut out with a margin.",
        ),
    ] = "",
    anonymize: Annotated[
        str,
        typer.Option(
            rich_help_panel=_OUTPUT,
            metavar="blur|pixelate",
            show_default="none",
            help="Also write the images with the faces made unrecognisable.",
        ),
    ] = "",
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=_OUTPUT, help="Go on in --output: pass over images that are done."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_OUTPUT, help="Replace the results that --output holds.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", rich_help_panel=_OUTPUT, help="Exit with 1 if any image cannot be read.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "-b",
            "--batch-size",
            min=1,
            rich_help_panel=_RUN,
            show_default="1 on the CPU, 8 on a GPU",
            help="Images of like size that go through the network at once.",
        ),
    ] = None,
    num_workers: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--num-workers",
            min=0,
            rich_help_panel=_RUN,
            show_default="one a core, 8 at most",
            help="Threads that read images.",
        ),
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            "-g",
            "--devices",
            "--num-gpus",
            rich_help_panel=_RUN,
            help="GPUs to use (-1: all); on the CPU, processes. Also under torchrun and SLURM.",
        ),
    ] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, rich_help_panel=_RUN, help="Machines to use.")] = 1,
    accelerator: Annotated[
        str, typer.Option(rich_help_panel=_RUN, metavar="auto|cpu|gpu|mps", help="Kind of device.")
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(
            rich_help_panel=_RUN,
            metavar="auto|32|bf16|fp16",
            help="Number format in the network; auto: bf16 on a CPU that has instructions for it, else 32.",
        ),
    ] = "auto",
    fp16: Annotated[bool, typer.Option("--fp16", rich_help_panel=_RUN, help="The same as --precision fp16.")] = False,
    backend: Annotated[
        str,
        typer.Option(
            rich_help_panel=_RUN,
            metavar="auto|torch|openvino|onnx",
            help="Library that runs the network; auto: on a CPU OpenVINO, or for 32 bits ONNX Runtime; else torch.",
        ),
    ] = "auto",
    config: Annotated[
        str,
        typer.Option(
            "-c",
            "--config",
            "--config-path",
            show_default=False,
            help="YAML file of these settings (options go before it), or a config of ternaus/retinaface.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings in force and what would be looked at, and exit.")
    ] = False,
    input_path: Annotated[list[str] | None, typer.Option("-i", "--input-path", hidden=True)] = None,
    world_size: Annotated[int | None, typer.Option(hidden=True)] = None,
    local_rank: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Find the faces of images and videos: boxes, scores and five landmarks, as JSON and, if wished, drawn."""
    from rich.console import Console

    from retinaface_cli.commands.infer import run as command
    from retinaface_cli.commands.infer.options import describe_run, resolve_settings
    from retinaface_cli.commands.weights import print_published_weights

    if list_weights:
        print_published_weights(Console())
        return
    console = Console(stderr=True)
    settings = resolve_settings(given_options(ctx), config=config, console=console)
    if not settings.inputs:
        raise typer.BadParameter("name images, folders or videos to look at", ctx=ctx, param_hint="INPUTS")
    if dry_run:
        print(describe_run(settings))
        return
    report = command.run(settings, console=console)
    code = 1 if settings.strict and report.failures else report.exit_code
    if code:
        raise typer.Exit(code)
