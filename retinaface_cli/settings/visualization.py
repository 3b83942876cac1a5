"""Settings of `visualize`: which images, which faces, how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.conversion import InputFormat
from retinaface_cli.settings.detection import OUTPUT_PANEL, wrap_single


class VisualizeSettings(Settings):
    """What to draw on which images."""

    images: Annotated[tuple[str, ...], BeforeValidator(wrap_single), Option(is_argument=True)] = ()
    """Images, folders (with all below), globs, @list.txt, or - for paths on standard input."""

    labels: Annotated[Path | None, Option(short="-l")] = None
    """File or folder of true faces, in any format that convert-labels reads; drawn blue, ignored ones dashed."""

    labels_format: Annotated[InputFormat | None, Option(name="--from", panel="Drawing", metavar="FORMAT")] = None
    """Format of the labels, as in convert-labels; empty: by their content."""

    predictions: Annotated[Path | None, Option(short="-p")] = None
    """File or folder of detected faces (the output folder of infer, JSON, COCO results, WIDER text, CSV); drawn orange,
    with scores."""

    min_score: Annotated[float, Option(metavar="0-1")] = Field(default=0.5, ge=0, le=1)
    """Predictions that score less are left out."""

    anonymize: Literal["blur", "pixelate"] | None = None
    """Make all labelled and predicted faces unrecognisable; empty: no."""

    grid: Annotated[int | None, Option()] = Field(default=None, ge=1, le=50)
    """Contact sheets of N x N images, about 2000 pixels wide; empty: single images."""

    output: Annotated[Path | None, Option(short="-o")] = None
    """Folder for the drawn images; empty: runs/visualize/1, 2, 3, ..."""

    style: Annotated[Literal["clear", "classic"], Option(panel="Drawing")] = "clear"
    """Clear: sizes that suit the image, with rims and scores; classic: green boxes of 2 pixels and plain dots, as the
    older tools drew them."""

    boxes: Annotated[bool | None, Option(panel="Drawing")] = None
    """Whether faces are drawn at all; empty: yes, with anonymize no."""

    scores: Annotated[bool, Option(panel="Drawing")] = True
    """Whether scores are written (clear style)."""

    landmarks: Annotated[bool, Option(panel="Drawing")] = True
    """Whether the five points are drawn."""

    format: Annotated[Literal["jpg", "png"], Option(panel=OUTPUT_PANEL)] = "jpg"
    """File format of the drawn images."""

    overwrite: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether files in the output folder are replaced."""

    num_workers: Annotated[int | None, Option(short="-j", panel=OUTPUT_PANEL)] = Field(default=None, ge=1)
    """Threads that read, draw and write; empty: one a core, 8 at most."""

    @model_validator(mode="after")
    def _check_together(self) -> VisualizeSettings:
        if not self.images:
            raise ValueError("no images: name files or folders")
        if self.labels is None and self.predictions is None:
            raise ValueError("nothing to draw: name --labels, --predictions or both")
        if self.labels_format is not None and self.labels is None:
            raise ValueError("--from says how to read --labels: name it too")
        return self

    @property
    def draws_faces(self) -> bool:
        """Whether boxes, points and scores are drawn."""
        return self.anonymize is None if self.boxes is None else self.boxes
