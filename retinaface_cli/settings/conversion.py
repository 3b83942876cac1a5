"""What `retinaface convert-labels` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.detection import wrap_single

InputFormat = Literal["json", "jsonl", "retinaface", "scrfd", "fddb", "wider", "labelme", "coco", "voc", "yolo", "csv"]
OutputFormat = Literal["json", "jsonl", "coco", "yolo", "retinaface", "wider", "csv"]


class ConversionSettings(Settings):
    """Labels to read, what to keep of them, and what to write."""

    sources: Annotated[tuple[Path, ...], Option(is_argument=True, metavar="SOURCE... OUT")] = Field(min_length=1)
    """Label files or folders of any known format (several are merged), and the file or folder to write."""

    output: Path | None = None
    """File or folder to write; empty: only report."""

    from_format: Annotated[InputFormat | None, Option(name="--from")] = None
    """Format of the sources; empty: by their content."""

    to_format: Annotated[OutputFormat | None, Option(name="--to")] = None
    """Format to write; empty: by the ending of OUT."""

    split: Literal["train", "val", "test"] | None = None
    """Part of the data set to read, where a source holds several; empty: the only one."""

    images: Annotated[Path | None, Option(metavar="DIR")] = None
    """Folder of the images: reads their sizes, and leaves out and counts images that are missing; empty: those of the
    source, if it is a folder."""

    classes: Annotated[
        tuple[str, ...], BeforeValidator(wrap_single), Option(name="--class", panel="What is kept", metavar="NAME")
    ] = ()
    """Class that is faces, where a source holds several; may be given several times; empty: those called face."""

    invalid: Annotated[Literal["ignore", "keep", "drop"], Option(panel="What is kept")] = "ignore"
    """Faces that the source marks invalid (crowd, difficult): ignore: stay, marked `ignore` (neither face nor
    background in training); keep: as faces; drop: left out, with all other ignored ones."""

    min_size: Annotated[float, Option(panel="What is kept", metavar="PX")] = Field(default=0.0, ge=0)
    """Faces whose shorter side is under this many pixels of the original image are ignored."""

    subset: Annotated[int | None, Option(panel="What is kept")] = Field(default=None, ge=1)
    """Number of images to pick at random; empty: all."""

    holdout: Annotated[float, Option(panel="What is kept", metavar="PART")] = Field(default=0.0, ge=0, lt=1)
    """Part of the images (of WIDER FACE: whole events) that goes to a second file, OUT-holdout."""

    seed: Annotated[int, Option(panel="What is kept")] = 0
    """Decides which images subset and holdout pick."""

    strict: Annotated[bool, Option(panel="What is kept")] = False
    """Whether any finding in the labels is an error."""

    stats: Annotated[Path | None, Option(panel="Writing", metavar="FILE.json")] = None
    """File for the summary as JSON; empty: none."""

    stats_plot: Annotated[Path | None, Option(panel="Writing", metavar="FILE.png")] = None
    """File for histograms of face sizes and of faces in an image; empty: none."""

    force: Annotated[bool, Option(short="-f")] = False
    """Whether existing files are replaced."""

    @property
    def protected(self) -> tuple[Path, ...]:
        """Files and folders that are read, and never written over."""
        return (*self.sources, *(() if self.images is None else (self.images,)))

    @model_validator(mode="after")
    def _check_output(self) -> ConversionSettings:
        if self.output is None and (self.holdout or self.to_format):
            raise ValueError("--holdout and --to need an OUT to write to")
        return self
