"""`retinaface visualize`: its options and help."""

from __future__ import annotations

from typing import Annotated

import typer

from retinaface_cli.cli.options import given_options

_FACES = "Faces"
_LOOK = "Look"
_OUTPUT = "Output"

EPILOG = (
    "Examples: [bold]retinaface visualize photos/ --predictions runs/infer/1[/bold] | "
    "[bold]retinaface visualize WIDER_val/images --labels wider_face_val_bbx_gt.txt --predictions out/predictions.json "
    "--grid 4[/bold] | [bold]retinaface visualize a.jpg --predictions out --anonymize pixelate -o public[/bold]"
)


def visualize(
    ctx: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Images, folders (with all below), globs, @list.txt, or - for paths on standard input.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        str,
        typer.Option(
            rich_help_panel=_FACES,
            show_default=False,
            help="File or folder of true faces, in any format that convert-labels reads; drawn blue, ignored ones "
            "dashed.",
        ),
    ] = "",
    labels_format: Annotated[
        str,
        typer.Option(
            rich_help_panel=_FACES,
            show_default="found out from the file",
            help="Name of the label format, where it cannot be found out.",
        ),
    ] = "",
    predictions: Annotated[
        str,
        typer.Option(
            rich_help_panel=_FACES,
            show_default=False,
            help="File or folder of detected faces (the output folder of infer, JSON, COCO results, WIDER text, CSV); "
            "drawn orange, with scores.",
        ),
    ] = "",
    min_score: Annotated[
        float,
        typer.Option(min=0, max=1, rich_help_panel=_FACES, help="Predictions that score less are left out (0 to 1)."),
    ] = 0.5,
    style: Annotated[
        str,
        typer.Option(
            rich_help_panel=_LOOK,
            metavar="clear|classic",
            help="classic: green boxes of 2 pixels and plain dots, as the older tools drew them.",
        ),
    ] = "clear",
    scores: Annotated[bool, typer.Option(rich_help_panel=_LOOK, help="Whether scores are written.")] = True,
    landmarks: Annotated[bool, typer.Option(rich_help_panel=_LOOK, help="Whether the five points are drawn.")] = True,
    anonymize: Annotated[
        str,
        typer.Option(
            rich_help_panel=_LOOK,
            metavar="blur|pixelate",
            show_default="none",
            help="Make all labelled and predicted faces unrecognisable.",
        ),
    ] = "",
    boxes: Annotated[
        bool | None,
        typer.Option(
            "--boxes/--no-boxes",
            rich_help_panel=_LOOK,
            show_default="boxes; no-boxes with --anonymize",
            help="Whether faces are drawn at all.",
        ),
    ] = None,
    grid: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=50,
            rich_help_panel=_OUTPUT,
            show_default="single images",
            help="Contact sheets of N x N images, about 2000 pixels wide.",
            metavar="N",
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=_OUTPUT,
            show_default="runs/visualize/1, 2, 3, ...",
            help="Folder for the drawn images.",
        ),
    ] = "",
    image_format: Annotated[
        str, typer.Option("--format", rich_help_panel=_OUTPUT, metavar="jpg|png", help="File format of the images.")
    ] = "jpg",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", rich_help_panel=_OUTPUT, help="Replace the drawings that --output holds.")
    ] = False,
    num_workers: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--num-workers",
            min=1,
            rich_help_panel=_OUTPUT,
            show_default="one a core, 8 at most",
            help="Threads that read, draw and write.",
        ),
    ] = None,
) -> None:
    """Draw true faces, detected faces or both on images, make contact sheets of them, or hide the faces."""
    from retinaface_cli.commands.visualize.run import run
    from retinaface_cli.settings.base import validate_settings
    from retinaface_cli.settings.visualization import VisualizeSettings

    given = given_options(ctx)
    if "image_format" in given:
        given["format"] = given.pop("image_format")
    report = run(validate_settings(VisualizeSettings, given, source="visualize"))
    if report.exit_code:
        raise typer.Exit(report.exit_code)
