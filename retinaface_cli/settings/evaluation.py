"""Settings of `evaluate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from retinaface_cli.settings.base import Option
from retinaface_cli.settings.conversion import InputFormat
from retinaface_cli.settings.detection import (
    ORIGINAL_SIZE,
    OUTPUT_PANEL,
    DetectionSettings,
    InferSettings,
    wrap_single,
)

Protocol = Literal["wider", "coco", "ap50", "landmarks"]

_SCALE = re.compile(r"original|[1-9]\d*|[1-9]\d*x[1-9]\d*")
_RESCORED_THRESHOLD = 0.005
"""Score above which faces count after rescoring, which lowers weak scores: those of .02 to .005 or .0075."""


class EvaluateSettings(DetectionSettings):
    """What to score against which labels, how detections are made where there are none yet, and what to write."""

    changed_defaults: ClassVar[dict[str, Any]] = {
        "weights": "",
        "max_size": None,
        "coarse_pass": False,
        "precision": "32",
        "score_threshold": 0.02,
        "nms_inclusive": True,
        "pre_nms_top_k": 100_000,
        "keep_top_k": 5000,
    }
    """As in the test scripts that published figures come from."""

    training: Annotated[Path | None, Option(is_argument=True, metavar="RUN")] = None
    """Folder of a training run, or its config: its best weights are measured on its validation images; empty: without
    any option, the newest run under runs/train."""

    predictions: Annotated[tuple[Path, ...], BeforeValidator(wrap_single), Option(short="-p")] = ()
    """Predictions: any output of infer (file or folder), COCO results, or a folder of WIDER text files; several are
    put side by side."""

    labels: Annotated[Path | None, Option(short="-l")] = None
    """True faces: WIDER FACE's ground_truth folder (.mat: easy, medium, hard), or labels in any format that
    convert-labels reads."""

    labels_format: Annotated[InputFormat | None, Option(name="--from", panel="Labels and scores", metavar="FORMAT")] = (
        None
    )
    """Format of the labels, as in convert-labels; empty: by their content."""

    images: Annotated[Path | None, Option(short="-i")] = None
    """Folder of the labelled images, for weights and worst; empty: where the labels say they are."""

    scale: Annotated[str | None, Option(metavar="original|N|SHORTxLONG")] = None
    """Size of images in the network: as they are; N pixels for the longest side (640); or the shorter side, as far as
    the longer one allows (1600x2150). It stands for max_size and short_side; empty: those, else the validation scale
    of the training, else original."""

    protocols: Annotated[
        tuple[Protocol, ...], BeforeValidator(wrap_single), Option(name="--protocol", panel="Labels and scores")
    ] = ()
    """Scores to compute; may be given several times; empty: all that the labels allow, with WIDER FACE's .mat labels
    all but coco."""

    coco_max_detections: Annotated[int, Option(panel="Labels and scores")] = Field(default=100, gt=0)
    """Detections of an image that COCO's figures take, best first; 100 is COCO's rule, crowds need more."""

    output: Annotated[Path | None, Option(short="-o")] = None
    """Folder for report.json, report.html, pr_curve.png and, with weights, the detections; empty: runs/evaluate/1, 2,
    3, ..."""

    worst: Annotated[int, Option()] = Field(default=0, ge=0)
    """Number of images with most missed faces and false detections to draw (worst.jpg); report.html shows as many, and
    24 at least."""

    resume: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether to go on with the detections in the output folder."""

    overwrite: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether the results that the output folder holds are replaced."""

    strict: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether anything odd about predictions or labels is an error."""

    @model_validator(mode="before")
    @classmethod
    def _lower_threshold(cls, values: Any) -> Any:
        """Lets weak scores in where they were lowered by rescoring."""
        if isinstance(values, dict) and values.get("rescore") and "score_threshold" not in values:
            return {**values, "score_threshold": _RESCORED_THRESHOLD}
        return values

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
        if self.scale and self.has_size:
            raise ValueError("scale stands for max_size and short_side: give one or the other")
        return self

    @property
    def has_size(self) -> bool:
        """Whether the size of images in the network was given by max_size or short_side."""
        return bool({"max_size", "short_side"} & self.model_fields_set)


def detection_settings(settings: EvaluateSettings, *, weights: str, scale: str | None) -> InferSettings:
    """The settings of the detector with these weights at a scale such as original, 640 or 1600x2150; None: theirs."""
    values = {name: getattr(settings, name) for name in DetectionSettings.model_fields}
    values |= {"weights": weights, "overwrite": settings.overwrite}
    if scale is not None:
        first, _, second = scale.partition("x")
        long = second or first
        values["short_side"] = int(first) if second else None
        values["max_size"] = None if long == ORIGINAL_SIZE else int(long)
    return InferSettings(**values)
