"""What `retinaface convert-labels` is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from retinaface_cli.settings.base import Settings

InputFormat = Literal["json", "jsonl", "retinaface", "scrfd", "fddb", "wider", "labelme", "coco", "voc", "yolo", "csv"]
OutputFormat = Literal["json", "jsonl", "coco", "yolo", "retinaface", "wider", "csv"]


class ConversionSettings(Settings):
    """Labels to read, what to keep of them, and what to write."""

    sources: tuple[Path, ...] = Field(min_length=1)
    """Files and folders of labels; several are merged."""

    output: Path | None = None
    """File or folder to write; empty: only report."""

    from_format: InputFormat | None = None
    """Format of the sources; empty: found out by looking."""

    to_format: OutputFormat | None = None
    """Format to write; empty: by the ending of the output."""

    split: Literal["train", "val", "test"] | None = None
    """Part of the data set, where a source holds several."""

    images: Path | None = None
    """Folder of the images: their sizes are read, and images that are missing are left out."""

    classes: tuple[str, ...] = ()
    """Names of the classes that are faces, where a source holds other objects too."""

    invalid: Literal["ignore", "keep", "drop"] = "ignore"
    """Faces that the source marks as invalid are marked `ignore`, kept as faces, or dropped."""

    min_size: float = Field(default=0.0, ge=0)
    """Faces whose shorter side is under this many pixels of the original image are ignored."""

    subset: int | None = Field(default=None, ge=1)
    """Number of images that are picked at random; empty: all."""

    holdout: float = Field(default=0.0, ge=0, lt=1)
    """Part of the images that goes to a second file."""

    seed: int = 0
    """Decides which images subset and holdout pick."""

    strict: bool = False
    """Any finding is an error."""

    stats: Path | None = None
    """JSON file for the statistics."""

    stats_plot: Path | None = None
    """PNG file for a plot of the statistics."""

    force: bool = False
    """Existing files are replaced."""

    @property
    def protected(self) -> tuple[Path, ...]:
        """Files and folders that are read, and never written over."""
        return (*self.sources, *(() if self.images is None else (self.images,)))

    @model_validator(mode="after")
    def _check_output(self) -> ConversionSettings:
        if self.output is None and (self.holdout or self.to_format):
            raise ValueError("--holdout and --to need an OUT to write to")
        return self
