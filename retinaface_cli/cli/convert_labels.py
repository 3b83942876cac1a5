"""`retinaface convert-labels`: its options and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

_READ = "Reading"
_KEEP = "What is kept"
_WRITE = "Writing"
_IN_FORMATS = "json|jsonl|retinaface|scrfd|fddb|wider|labelme|coco|voc|yolo|csv"
_SPLITS = "train|val|test"
_INVALID = "ignore|keep|drop"
_OUT_FORMATS = "json|jsonl|coco|yolo|retinaface|wider|csv"

EPILOG = (
    "Examples: [bold]retinaface convert-labels wider/ train.json --split train[/bold] | "
    "[bold]retinaface convert-labels label.txt out.json --images images/ --holdout 0.1[/bold] | "
    "[bold]retinaface convert-labels a.json b/ merged.json --stats-plot sizes.png[/bold] | "
    "[bold]retinaface convert-labels labels.json yolo/ --to yolo --images images/[/bold]"
)


def _one_of(choices: str) -> Callable[[str | None], str | None]:
    """A check of an option's value against choices written as `a|b|c`."""

    def check(value: str | None) -> str | None:
        """The value itself; raises BadParameter where it is none of the choices."""
        if value is not None and value not in choices.split("|"):
            raise typer.BadParameter(f"{value!r} is none of {choices.replace('|', ', ')}")
        return value

    return check


def convert_labels(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... OUT",
            help="Label files or folders of any known format (several are merged), and the file or folder to write.",
            show_default=False,
        ),
    ],
    from_format: Annotated[
        str | None,
        typer.Option(
            "--from",
            rich_help_panel=_READ,
            metavar=_IN_FORMATS,
            callback=_one_of(_IN_FORMATS),
            show_default="found out by looking",
            help="Format of the sources.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_READ,
            metavar=_SPLITS,
            callback=_one_of(_SPLITS),
            show_default="the only one",
            help="Part of the data set to read, where a source holds several.",
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_READ,
            metavar="DIR",
            show_default="those of a folder",
            help="Folder of the images: reads their sizes, and leaves out and counts images that are missing.",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            rich_help_panel=_READ,
            metavar="NAME",
            show_default="those called face",
            help="Class that is faces, where a source holds several (repeat for more).",
        ),
    ] = None,
    invalid: Annotated[
        str,
        typer.Option(
            rich_help_panel=_KEEP,
            metavar=_INVALID,
            callback=_one_of(_INVALID),
            help="Faces that the source marks invalid (crowd, difficult): ignore: stay, marked `ignore` (neither face "
            "nor background in training); keep: as faces; drop: left out, with all other ignored ones.",
        ),
    ] = "ignore",
    min_size: Annotated[
        float,
        typer.Option(
            min=0,
            rich_help_panel=_KEEP,
            metavar="PX",
            help="Faces whose shorter side is under this many pixels are ignored.",
        ),
    ] = 0.0,
    subset: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_KEEP, metavar="N", show_default="all", help="Take N images picked at random."
        ),
    ] = None,
    holdout: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.999,
            rich_help_panel=_KEEP,
            metavar="FRACTION",
            help="Write this part of the images (of WIDER FACE: whole events) to a second file, OUT-holdout.",
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(rich_help_panel=_KEEP, help="Decides which images --subset and --holdout pick.")
    ] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", rich_help_panel=_KEEP, help="Any finding in the labels is an error.")
    ] = False,
    to_format: Annotated[
        str | None,
        typer.Option(
            "--to",
            rich_help_panel=_WRITE,
            metavar=_OUT_FORMATS,
            callback=_one_of(_OUT_FORMATS),
            show_default="by the ending of OUT",
            help="Format to write.",
        ),
    ] = None,
    stats: Annotated[
        str | None,
        typer.Option(rich_help_panel=_WRITE, metavar="FILE.json", show_default="none", help="The summary as JSON."),
    ] = None,
    stats_plot: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_WRITE,
            metavar="FILE.png",
            show_default="none",
            help="Histograms of face sizes and of faces in an image.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("-n", "--dry-run", rich_help_panel=_WRITE, help="Write no labels: all paths are sources."),
    ] = False,
    force: Annotated[
        bool, typer.Option("-f", "--force", rich_help_panel=_WRITE, help="Replace files that are there already.")
    ] = False,
) -> None:
    """Turn labels of any known format into those that train and evaluate read, and tell what is in them.

    Every face is checked: boxes are clipped to the image, what cannot be right is mended or marked, counted, and
    reported with its place.
    """
    if not dry_run and len(paths) < 2:
        raise typer.BadParameter(
            "give at least one SOURCE and OUT, or --dry-run to only look", param_hint="SOURCE... OUT"
        )
    from retinaface_cli.commands.convert_labels.run import run
    from retinaface_cli.settings.base import validate_settings
    from retinaface_cli.settings.conversion import ConversionSettings

    values = {
        "sources": paths if dry_run else paths[:-1],
        "output": None if dry_run else paths[-1],
        "from_format": from_format,
        "to_format": to_format,
        "split": split,
        "images": images,
        "classes": classes or (),
        "invalid": invalid,
        "min_size": min_size,
        "subset": subset,
        "holdout": holdout,
        "seed": seed,
        "strict": strict,
        "stats": stats,
        "stats_plot": stats_plot,
        "force": force,
    }
    run(validate_settings(ConversionSettings, values, source="options"))
