"""Settings of `visualize`: which images, which faces, how they look."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from retinaface_cli.settings.base import Settings


class VisualizeSettings(Settings):
    """What to draw on which images."""

    images: tuple[str, ...] = ()
    """Images, folders, globs, @list.txt, or - for paths on standard input."""

    labels: Path | None = None
    """File or folder of true faces, in any label format."""

    labels_format: str | None = None
    """Name of the label format; empty: found out from the file."""

    predictions: Path | None = None
    """File or folder of detected faces: what infer writes, COCO results, WIDER text files, CSV."""

    min_score: float = Field(default=0.5, ge=0, le=1)
    """Predictions that score less are left out, from 0 to 1."""

    style: Literal["clear", "classic"] = "clear"
    """Clear: sizes that suit the image, with rims and scores; classic: green boxes of 2 pixels and plain dots, as the
    older tools drew them."""

    scores: bool = True
    """Whether scores are written (clear style)."""

    landmarks: bool = True
    """Whether the five points are drawn."""

    anonymize: Literal["blur", "pixelate"] | None = None
    """Make all labelled and predicted faces unrecognisable."""

    boxes: bool | None = None
    """Whether faces are drawn at all; empty: yes, except with anonymize."""

    grid: int | None = Field(default=None, ge=1, le=50)
    """Contact sheets of grid x grid images in place of single images."""

    output: Path | None = None
    """Folder for the drawn images; empty: runs/visualize/1, 2, 3, ..."""

    format: Literal["jpg", "png"] = "jpg"
    """File format of the drawn images."""

    overwrite: bool = False
    """Replace files in the output folder."""

    num_workers: int | None = Field(default=None, ge=1)
    """Threads that read, draw and write; empty: one a core, 8 at most."""

    @field_validator("images", mode="before")
    @classmethod
    def _wrap_single(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_together(self) -> VisualizeSettings:
        if not self.images:
            raise ValueError("no images: name files or folders")
        if self.labels is None and self.predictions is None:
            raise ValueError("nothing to draw: name --labels, --predictions or both")
        if self.labels_format is not None and self.labels is None:
            raise ValueError("--labels-format says how to read --labels: name it too")
        return self

    @property
    def draws_faces(self) -> bool:
        """Whether boxes, points and scores are drawn."""
        return self.anonymize is None if self.boxes is None else self.boxes
