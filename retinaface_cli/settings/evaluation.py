"""Settings of `evaluate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from retinaface_cli.settings.base import Settings
from retinaface_cli.settings.detection import ORIGINAL_SIZE, InferSettings

Protocol = Literal["wider", "coco", "ap50", "landmarks"]
TtaKind = Literal["flip", "multiscale"]

_SCALE = re.compile(r"original|[1-9]\d*|[1-9]\d*x[1-9]\d*")


class EvaluateSettings(Settings):
    """What to score against which labels, how detections are made where there are none yet, and what to write."""

    training: Path | None = None
    """Config of a training run, or its folder, whose validation images are scored."""

    predictions: tuple[Path, ...] = ()
    """Prediction files or folders; several are put side by side."""

    labels: Path | None = None
    """WIDER FACE's ground_truth folder, or labels in any format that `retinaface convert-labels` reads."""

    labels_format: str | None = None
    """Format of the labels; empty: found out by looking."""

    images: Path | None = None
    """Folder of the images that the labels name; empty: where the labels say they are."""

    weights: str = ""
    """Weights to detect with; empty: predictions are given, or the best of the training run."""

    scale: str | None = None
    """Size of images in the network: original; 640: longest side; 1600x2150: shorter side, as far as the longer one
    stays within the second number. Empty: original, or the validation scale of the training."""

    tta: tuple[TtaKind, ...] = ()
    """Test-time augmentation: flip: mirrored images too; multiscale: other sizes too."""

    tta_merge: Literal["box-voting", "soft-nms"] = "box-voting"
    """How the faces of several looks at an image become one list."""

    detection: InferSettings = InferSettings(
        max_size=None,
        multi_scale="off",
        double_check=False,
        precision="32",
        confidence_threshold=0.02,
        nms_inclusive=True,
        pre_nms_top_k=100_000,
        keep_top_k=5000,
    )
    """Everything else about detection, by default as in the test scripts that published figures come from; its inputs,
    weights, output and scale are set by the other fields."""

    protocols: tuple[Protocol, ...] = ()
    """Which scores; empty: all that the labels allow, with WIDER FACE's .mat labels all but coco."""

    coco_max_detections: int = Field(default=100, gt=0)
    """Detections of an image that the COCO figures look at, best first; 100 is COCO's rule."""

    output: Path | None = None
    """Folder for report.json and images; empty: runs/evaluate/1, 2, 3, ..."""

    resume: bool = False
    """Go on with the detections in the output folder."""

    overwrite: bool = False
    """Replace the results that the output folder holds."""

    worst: int = Field(default=0, ge=0)
    """Number of images with most mistakes to draw on a contact sheet."""

    strict: bool = False
    """Whether everything doubtful about predictions or labels is an error."""

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, value: str | None) -> str | None:
        if value is not None and not _SCALE.fullmatch(value):
            raise ValueError("expected original, the longest side in pixels, or SHORTxLONG such as 1600x2150")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> EvaluateSettings:
        if self.predictions and self.weights:
            raise ValueError("predictions and weights exclude each other: score files, or detect anew")
        if self.predictions and (self.scale or self.tta or self.resume):
            raise ValueError("scale, tta and resume are for detecting; predictions are scored as they are")
        if (self.predictions or self.weights) and not (self.labels or self.training):
            raise ValueError("labels are missing: name the file or folder with the true faces (--labels)")
        if self.labels and not (self.predictions or self.weights or self.training):
            raise ValueError("name the predictions to score (--predictions), or weights to detect with (-w)")
        if self.resume and (self.overwrite or self.output is None):
            raise ValueError("resume needs output, the folder to go on with, and excludes overwrite")
        return self


def detection_settings(settings: EvaluateSettings, *, weights: str, scale: str) -> InferSettings:
    """The settings of the detector with these weights at a scale such as original, 640 or 1600x2150."""
    sides: tuple[int | None, int | None] = (None, None)
    if scale != ORIGINAL_SIZE:
        first, _, second = scale.partition("x")
        sides = (int(first), int(second)) if second else (None, int(first))
    changes = {
        "weights": weights,
        "short_side": sides[0],
        "max_size": sides[1],
        "tta": settings.tta,
        "tta_merge": settings.tta_merge,
        "overwrite": settings.overwrite,
    }
    return settings.detection.model_copy(update=changes)
