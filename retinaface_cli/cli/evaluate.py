"""`retinaface evaluate`: its options and help."""

from __future__ import annotations

from typing import Annotated

import typer

from retinaface_cli.cli.options import given_options

_WHAT = "What to score"
_DETECTION = "Detecting anew, with -w or a training run"
_RUN = "Devices and speed"
_OUTPUT = "Output"

EPILOG = (
    "Examples: [bold]retinaface evaluate --predictions out/ --labels wider/ground_truth[/bold] | "
    "[bold]retinaface evaluate -w best.safetensors --images val/ --labels val.json --scale 640[/bold] | "
    "[bold]retinaface evaluate --predictions a.json --predictions b.json --labels val.json --worst 12[/bold] | "
    "[bold]retinaface evaluate runs/train/mine/config.yaml[/bold] | "
    "[bold]retinaface evaluate[/bold] (the newest training run)"
)


def evaluate(
    ctx: typer.Context,
    config: Annotated[
        str | None,
        typer.Argument(
            help="Config of a training run, or its folder: its best weights are measured on its validation images. "
            "Without any option: the newest run under runs/train.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--predictions",
            rich_help_panel=_WHAT,
            show_default=False,
            help="Predictions: any output of infer (file or folder), COCO results, or a folder of WIDER text files. "
            "Several are put side by side.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "-l",
            "--labels",
            rich_help_panel=_WHAT,
            show_default=False,
            help="True faces: WIDER FACE's ground_truth folder (.mat: easy, medium, hard), or any labels that "
            "convert-labels reads (all faces that are not ignored).",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            "-i",
            "--images",
            rich_help_panel=_WHAT,
            show_default="where the labels have them",
            help="Folder of the labelled images, for -w and --worst.",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            rich_help_panel=_WHAT,
            metavar="wider|coco|ap50|landmarks",
            show_default="all that the labels allow; coco not by itself with WIDER FACE's .mat",
            help="Scores to compute; may be given several times.",
        ),
    ] = None,
    coco_max_detections: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=_WHAT,
            help="Detections of an image that COCO's figures look at; 100 is the rule, crowds need more.",
        ),
    ] = 100,
    labels_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            rich_help_panel=_WHAT,
            metavar="FORMAT",
            show_default="found out by looking",
            help="Format of the labels, as in convert-labels --from.",
        ),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            "-w",
            "--weights",
            rich_help_panel=_DETECTION,
            show_default=False,
            help="Detect with this checkpoint (all that infer -w takes), then score.",
        ),
    ] = "",
    scale: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_DETECTION,
            metavar="original|N|SHORTxLONG",
            show_default="original; that of the training",
            help="Size of images in the network: as they are; N pixels for the longest side (640); or the shorter "
            "side, as far as the longer one allows (1600x2150).",
        ),
    ] = None,
    tta: Annotated[
        list[str] | None,
        typer.Option(
            "--tta",
            rich_help_panel=_DETECTION,
            metavar="flip|multiscale",
            show_default="none",
            help="Look at mirrored images, or at other sizes, too; may be given twice.",
        ),
    ] = None,
    tta_merge: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DETECTION, metavar="box-voting|soft-nms", help="How the looks are made into one result."
        ),
    ] = "box-voting",
    multi_scale: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DETECTION,
            metavar="auto|off",
            help="auto: a second, small look at large images, for faces that fill them, as infer has it.",
        ),
    ] = "off",
    double_check: Annotated[
        bool,
        typer.Option(
            "--double-check/--no-double-check",
            rich_help_panel=_DETECTION,
            help="Look again, from close by, at faces of which the network is in doubt, and score them by both looks, "
            "as infer does.",
        ),
    ] = False,
    confidence_threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_DETECTION,
            show_default="0.02; with --double-check, which lowers weak scores, 0.005",
            help="Faces must score above it (0 to 1); more costs recall.",
        ),
    ] = None,
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
            "--nms-inclusive/--no-nms-inclusive",
            rich_help_panel=_DETECTION,
            help="Whether box sides count as x2 - x1 + 1 in the overlap, as in the test scripts that published figures "
            "come from; infer counts x2 - x1.",
        ),
    ] = True,
    box_voting: Annotated[
        bool | None,
        typer.Option(
            "--box-voting/--no-box-voting",
            rich_help_panel=_DETECTION,
            show_default="no; with --no-nms-inclusive yes",
            help="Whether a face gets the mean of all boxes that the suppression takes for it, weighted by the cube of "
            "their scores, instead of the best one; without effect with --tta.",
        ),
    ] = None,
    keep_top_k: Annotated[
        int, typer.Option(min=1, rich_help_panel=_DETECTION, help="Largest number of faces in an image.")
    ] = 5000,
    preprocessing: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DETECTION,
            show_default="known files by sha256, else by backbone",
            help="How the images of an old checkpoint were prepared: imagenet-rgb or mean-bgr.",
        ),
    ] = "",
    anchors: Annotated[
        str,
        typer.Option(
            rich_help_panel=_DETECTION,
            show_default="[[16,32],[64,128],[256,512]]",
            help="Anchor sizes of an old checkpoint that has others (pixels, a list a level).",
        ),
    ] = "",
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
            "-g", "--devices", "--num-gpus", rich_help_panel=_RUN, help="GPUs to use (-1: all); on the CPU, processes."
        ),
    ] = 1,
    num_nodes: Annotated[int, typer.Option(min=1, rich_help_panel=_RUN, help="Machines to use.")] = 1,
    accelerator: Annotated[
        str, typer.Option(rich_help_panel=_RUN, metavar="auto|cpu|gpu|mps", help="Kind of device.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(rich_help_panel=_RUN, metavar="auto|32|bf16|fp16", help="Number format in the network.")
    ] = "32",
    fp16: Annotated[bool, typer.Option("--fp16", rich_help_panel=_RUN, help="The same as --precision fp16.")] = False,
    backend: Annotated[
        str,
        typer.Option(
            rich_help_panel=_RUN,
            metavar="auto|torch|openvino|onnx",
            help="Library that runs the network; auto: on a CPU OpenVINO, or for 32 bits ONNX Runtime; else torch.",
        ),
    ] = "auto",
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=_OUTPUT,
            show_default="runs/evaluate/1, 2, 3, ...",
            help="Folder for report.json, pr_curve.png and, with -w, the detections.",
        ),
    ] = None,
    worst: Annotated[
        int,
        typer.Option(
            min=0,
            rich_help_panel=_OUTPUT,
            metavar="N",
            help="Also draw the N images with most missed faces and false detections (worst.jpg).",
        ),
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", rich_help_panel=_OUTPUT, help="Go on with the detections in --output.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_OUTPUT, help="Replace the results that --output holds.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", rich_help_panel=_OUTPUT, help="Take everything doubtful for an error: exit with 1."),
    ] = False,
) -> None:
    """Score detections against true faces: AP as WIDER FACE, COCO and VOC have it, and landmark errors."""
    from retinaface_cli.commands.evaluate import run as command
    from retinaface_cli.commands.evaluate.options import resolve_settings

    given = given_options(ctx)
    if not any(name in given for name in ("config", "predictions", "labels", "weights")):
        from retinaface_cli.commands.evaluate.detection import find_newest_run

        newest = find_newest_run()
        if newest is None:
            print(ctx.get_help())
            print("There is no training run under runs/train to score; name predictions or weights, and labels.")
            return
        given["config"] = str(newest)
    command.run(resolve_settings(given))
