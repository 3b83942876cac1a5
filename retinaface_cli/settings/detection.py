"""Settings of `infer`, and of every other command that runs a detector over images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from retinaface_cli.settings.base import Settings
from retinaface_cli.settings.network import AnchorSettings

ORIGINAL_SIZE = "original"


class InferSettings(Settings):
    """What to look at, with which weights, how, and what to write."""

    inputs: tuple[str, ...] = ()
    """Images, videos, folders, globs, @list.txt, or - for paths on standard input."""

    weights: str = "mobilenet0.25"
    """A weights file of any RetinaFace family, the detector in the package, or the name of published weights."""

    preprocessing: Literal["imagenet-rgb", "mean-bgr"] | None = None
    """How the images of an old checkpoint were prepared; empty: known files by their sha256, else by backbone."""

    anchors: AnchorSettings | None = None
    """Anchors of an old checkpoint where they differ from the usual ones; sizes in pixels a level."""

    output: Path | None = None
    """Folder for the results; empty: runs/infer/1, 2, 3, ..."""

    max_size: int | None = Field(default=960, gt=0)
    """Longest side in pixels at which images go through the network; 0 or original: as they are."""

    short_side: int | None = Field(default=None, gt=0)
    """Shorter side in pixels, as far as max_size allows (the WIDER test scale is 1600 with 2150); empty: not used."""

    upscale: bool = True
    """Whether images smaller than max_size are enlarged to it."""

    multi_scale: Literal["auto", "off"] = "auto"
    """auto: images of more than 640 pixels get a second, small look, for faces larger than the largest anchors."""

    double_check: bool = True
    """Whether faces of which the network is in doubt (scores of .2 to .98) are looked at again, from close by, and
    scored by both looks. Without effect with tta, and where the anchors are for other sizes."""

    confidence_threshold: float = Field(default=0.7, ge=0, le=1)
    """Faces must score above it."""

    nms_threshold: float = Field(default=0.4, ge=0, le=1)
    """Overlap (IoU) above which the weaker of two boxes is dropped."""

    tta: tuple[Literal["flip", "multiscale"], ...] = ()
    """Test-time augmentation: flip: mirrored images are looked at, too; multiscale: other sizes, too."""

    tta_merge: Literal["box-voting", "soft-nms"] = "box-voting"
    """How the faces of several looks at an image become one list."""

    nms_inclusive: bool = False
    """Count box sides as x2 - x1 + 1 in that overlap, as the old WIDER evaluation scripts do."""

    box_voting: bool | None = None
    """Whether a face gets the mean of all boxes and landmarks that the suppression takes for it, weighted by the cube
    of their scores, instead of the best one; empty: yes, but with nms_inclusive no, as in the old scripts. Without
    effect with tta, whose merging has a vote of its own."""

    pre_nms_top_k: int = Field(default=20_000, gt=0)
    """Number of best candidates that go into the suppression."""

    keep_top_k: int = Field(default=750, gt=0)
    """Largest number of faces in an image."""

    batch_size: int | None = Field(default=None, gt=0)
    """Images that go through the network at once; empty: 1 on the CPU, 8 on a GPU."""

    num_workers: int | None = Field(default=None, ge=0)
    """Threads that read images; empty: one a core, 8 at most."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    """Kind of device; auto: a GPU where there is one."""

    devices: int = Field(default=1, ge=-1)
    """Number of devices on each machine; -1: all that are there. On the CPU a device is a process."""

    num_nodes: int = Field(default=1, gt=0)
    """Number of machines; started by torchrun or SLURM on each of them."""

    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    """Number format in the network; boxes are always decoded in 32 bits. auto: bf16 on a CPU that has instructions for
    it, else 32."""

    backend: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    """Library that runs the network; auto: on a CPU OpenVINO, or for 32 bits ONNX Runtime; else torch."""

    format: Literal["json", "jsonl", "coco", "wider", "csv"] = "json"
    """A further file of all results in this format, beside predictions.json."""

    coco_ids: Path | None = None
    """COCO labels from which the image ids of a file in the format coco are taken; empty: the numbers that the images
    are named by, or 1, 2, 3, ..."""

    visualize: bool = False
    """Whether images with the faces drawn on them are written."""

    crops: Literal["aligned", "margin"] | None = None
    """Faces as files of their own: turned upright and scaled by their landmarks, or cut out with a margin."""

    crop_size: int = Field(default=112, gt=0)
    """Side of aligned crops in pixels."""

    crop_margin: float = Field(default=0.25, ge=0)
    """Margin of margin crops on each side, as part of the box's side."""

    anonymize: Literal["blur", "pixelate"] | None = None
    """Whether images with unrecognisable faces are written, and how."""

    resume: bool = False
    """Go on with an output folder: images that have their results are passed over."""

    overwrite: bool = False
    """Replace the results in an output folder that holds some."""

    strict: bool = False
    """Exit with 1 if any image cannot be read."""

    @property
    def votes(self) -> bool:
        """Whether boxes are voted on."""
        return not self.nms_inclusive if self.box_voting is None else self.box_voting

    @field_validator("max_size", mode="before")
    @classmethod
    def _read_original(cls, value: Any) -> Any:
        if value in (0, "0", ORIGINAL_SIZE):
            return None
        return value

    @field_validator("inputs", mode="before")
    @classmethod
    def _wrap_single(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_together(self) -> InferSettings:
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite exclude each other")
        if self.resume and self.output is None:
            raise ValueError("resume needs output: the folder to go on with")
        if "-" in self.inputs and (self.devices != 1 or self.num_nodes != 1):
            raise ValueError("standard input can only be read by one process; put the paths in a file and give @file")
        return self
