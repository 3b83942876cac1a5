"""Every option of a detector, once, and the settings of `infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from retinaface_cli.errors import FileReadError
from retinaface_cli.files.reading import parse_yaml
from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.network import AnchorSettings
from retinaface_cli.settings.precision import DetectorPrecision

ORIGINAL_SIZE = "original"

DETECTION_PANEL = "Detection"
DEVICE_PANEL = "Devices and speed"
OUTPUT_PANEL = "Output"
_WEIGHTS_PANEL = "Weights of older tools"


def wrap_single(value: object) -> object:
    """Lets one text stand for a tuple of one."""
    return (value,) if isinstance(value, str) else value


def _read_size(value: object) -> object:
    """Reads 0 and `original` as no limit."""
    return None if value in (0, "0", ORIGINAL_SIZE) else value


def _read_anchors(value: object) -> object:
    """Reads sizes alone, as a list or as text such as [[10,20],[32,64],[128,256]]."""
    if isinstance(value, str):
        try:
            value = parse_yaml(value, place="anchors")
        except FileReadError:
            raise ValueError("expected sizes a level, e.g. [[10,20],[32,64],[128,256]]") from None
    return {"sizes": value} if isinstance(value, list | tuple) else value


def _check_devices(value: int) -> int:
    """Raises ValueError for no device."""
    if value < -1 or value == 0:
        raise ValueError("expected a number of devices, or -1 for all that there are")
    return value


_WITHOUT_EFFECT_ON_RESULTS = frozenset(
    ("weights", "batch_size", "num_workers", "devices", "num_nodes", "accelerator", "precision", "backend")
)
"""Fields of devices and speed; weights count by their content."""


Backend = Literal["auto", "torch", "openvino", "onnx"]
ScoreThreshold = Annotated[float, Field(ge=0, le=1)]
NmsIouThreshold = Annotated[float, Field(ge=0, le=1)]
KeepTopK = Annotated[int, Field(gt=0)]


class WeightsSettings(Settings):
    """Which network, and what old files do not say of it."""

    weights: Annotated[str, Option(short="-w", legacy=("--weight-path",))] = "yunet"
    """Weights file of any RetinaFace family (.safetensors, .ckpt, .pth, .tar, .zip), a network of `export`, SCRFD or
    YuNet (.onnx, .xml), or the name of published weights; mobilenet0.25 and yunet come with the package."""

    preprocessing: Annotated[Literal["imagenet-rgb", "mean-bgr"] | None, Option(panel=_WEIGHTS_PANEL)] = None
    """How images were prepared when the weights were trained; empty: known files by their sha256, else by backbone."""

    anchors: Annotated[
        AnchorSettings | None, BeforeValidator(_read_anchors), Option(panel=_WEIGHTS_PANEL, metavar="SIZES")
    ] = None
    """Anchor sizes of weights that were trained with others: pixels, a list a level, e.g. [[10,20],[32,64],[128,256]];
    empty: those that the file carries or that are known of it, else [[16,32],[64,128],[256,512]] is assumed."""


class DetectionSettings(WeightsSettings):
    """How a network finds faces, in whatever command."""

    max_size: Annotated[
        Annotated[int, Field(gt=0)] | None,
        BeforeValidator(_read_size),
        Option(short="-m", metavar="PX|original", flags={"--origin-size": "original"}),
    ] = 960
    """Longest side in pixels at which images go through the network; 0 or original: as they are."""

    short_side: Annotated[int | None, Option(panel=DETECTION_PANEL, metavar="PX")] = Field(default=None, gt=0)
    """Shorter side in pixels, as far as max_size allows (the WIDER test scale is 1600 with 2150); empty: not used."""

    upscale: Annotated[bool, Option(panel=DETECTION_PANEL)] = True
    """Whether images smaller than max_size are enlarged to it."""

    score_threshold: Annotated[ScoreThreshold, Option(legacy=("--confidence-threshold",), metavar="0-1")] = 0.7
    """Only faces with a score above this are kept."""

    nms_iou_threshold: Annotated[
        NmsIouThreshold, Option(panel=DETECTION_PANEL, legacy=("--nms-threshold",), metavar="0-1")
    ] = 0.4
    """Overlap (IoU) above which the weaker of two boxes is dropped."""

    nms_inclusive: Annotated[bool, Option(panel=DETECTION_PANEL)] = False
    """Whether box sides count as x2 - x1 + 1 in that overlap, as in the test scripts behind published figures."""

    box_voting: Annotated[bool | None, Option(panel=DETECTION_PANEL)] = None
    """Whether a face gets the mean of all boxes and landmarks that the suppression takes for it, weighted by the cube
    of their scores, instead of the best one; without effect with tta, which votes by itself; empty: with
    RetinaFace and YuNet, but not with nms_inclusive."""

    rescore: Annotated[bool, Option(panel=DETECTION_PANEL)] = False
    """Whether faces with scores of .2 to .98 are cut out, go through the network again at a larger size, and are scored
    by both passes; it takes a quarter to a third more time in crowds. Without effect with tta; not for yunet and other
    networks whose anchors do not reach from 56 to 112 pixels."""

    coarse_pass: Annotated[bool | None, Option(panel=DETECTION_PANEL)] = None
    """Whether images of more than 640 pixels go through the network a second time at 160 to 320 pixels, for faces
    larger than the largest anchors (with yunet, larger than a tenth of the image). Without effect with tta; empty: with
    RetinaFace and YuNet."""

    tta: Annotated[
        tuple[Literal["flip", "multiscale"], ...], BeforeValidator(wrap_single), Option(panel=DETECTION_PANEL)
    ] = ()
    """Test-time augmentation: flip: mirrored images too; multiscale: other sizes too; may be given twice."""

    tta_merge: Annotated[Literal["box-voting", "soft-nms"], Option(panel=DETECTION_PANEL)] = "box-voting"
    """How the faces of several passes over an image become one list."""

    pre_nms_top_k: Annotated[int, Option(panel=DETECTION_PANEL, legacy=("--top-k",))] = Field(default=20_000, gt=0)
    """Number of best candidates that go into the suppression."""

    keep_top_k: Annotated[KeepTopK, Option(panel=DETECTION_PANEL)] = 750
    """Largest number of faces in an image."""

    batch_size: Annotated[int | None, Option(short="-b", panel=DEVICE_PANEL)] = Field(default=None, gt=0)
    """Images that go through the network at once; empty: 1 on the CPU, 8 on a GPU."""

    num_workers: Annotated[int | None, Option(short="-j", panel=DEVICE_PANEL)] = Field(default=None, ge=0)
    """Threads that read images; empty: one a core, 8 at most."""

    devices: Annotated[int, AfterValidator(_check_devices), Option(short="-g", legacy=("--num-gpus",))] = 1
    """Number of GPUs on each machine, -1: all; on the CPU, number of processes."""

    num_nodes: Annotated[int, Option(panel=DEVICE_PANEL)] = Field(default=1, gt=0)
    """Number of machines; start the command on each with torchrun or SLURM."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "cuda", "mps"], Option(panel=DEVICE_PANEL)] = "auto"
    """Kind of device; auto: a GPU where there is one."""

    precision: Annotated[DetectorPrecision, Option(panel=DEVICE_PANEL, flags={"--fp16": "16"})] = "auto"
    """Number format in the network; boxes are always decoded in 32 bits. auto: bf16 on a CPU that has instructions for
    it, else 32."""

    backend: Annotated[Backend, Option(panel=DEVICE_PANEL)] = "auto"
    """Library that runs the network; auto: on a CPU ONNX Runtime for 32 bits (FaceDetector: OpenVINO) and OpenVINO for
    bf16, as far as they are installed; else torch. An .onnx file runs in ONNX Runtime or OpenVINO, an .xml in
    OpenVINO."""

    @property
    def test_scale(self) -> str:
        """Size of images in the network as `evaluate --scale` writes it: original, 640, or 1600x2150."""
        long = ORIGINAL_SIZE if self.max_size is None else str(self.max_size)
        return f"{self.short_side}x{long}" if self.short_side else long

    @property
    def votes(self) -> bool:
        """Whether boxes are voted on."""
        if self.tta:
            return False  # the merging of the passes votes
        return not self.nms_inclusive if self.box_voting is None else self.box_voting

    def identity(self) -> dict[str, Any]:
        """All settings that decide the results, as JSON values; not those of devices and speed."""
        names = DetectionSettings.model_fields.keys() - _WITHOUT_EFFECT_ON_RESULTS
        return self.model_dump(mode="json", include=set(names))


class InferSettings(DetectionSettings):
    """In which images faces are found, how, and what is written."""

    inputs: Annotated[tuple[str, ...], BeforeValidator(wrap_single), Option(is_argument=True)] = ()
    """Images, videos, tar shards ('s/{000..999}.tar'), folders (with all below), globs, @list.txt, all of these at
    addresses (s3://, https://, ...), or - for paths on standard input; or alone the number of a camera (0) or the
    address of a stream (rtsp://...)."""

    output: Annotated[Path | None, Option(short="-o", legacy=("--output-path",))] = None
    """Folder for the results; empty: runs/infer/1, 2, 3, ..."""

    visualize: Annotated[bool, Option(short="-v", legacy=("--save-image", "-s"))] = False
    """Whether images and videos with the faces drawn on them are written too."""

    html: Annotated[bool, Option()] = False
    """Whether gallery.html is written too: all images with their faces, to be looked at in a browser."""

    save: Annotated[Literal["each", "parts"], Option(panel=OUTPUT_PANEL)] = "each"
    """Write files for each image, or for millions of images parts with a row an image, and no file for one image."""

    part_format: Annotated[Literal["jsonl", "parquet"], Option(panel=OUTPUT_PANEL)] = "jsonl"
    """Format of parts: gzipped JSON Lines, or Parquet (with pip install 'retinaface-cli[parquet]')."""

    part_size: Annotated[int, Option(panel=OUTPUT_PANEL)] = Field(default=1000, gt=0)
    """Images of a part; a shard is a part of its own, however many it holds."""

    embed_crops: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether the rows of parts hold each face as an aligned image of crop_size, as JPEG."""

    format: Annotated[Literal["json", "jsonl", "coco", "wider", "csv"] | None, Option()] = None
    """A file of all results in this format, beside predictions.json; with parts, the only one; empty: no."""

    coco_ids: Annotated[Path | None, Option(panel=OUTPUT_PANEL, metavar="LABELS.json")] = None
    """COCO labels from which the image ids of a file in the format coco are taken; empty: the numbers that the images
    are named by, or 1, 2, 3, ..."""

    resume: Annotated[bool, Option()] = False
    """Whether to go on with an output folder: images that have their results are passed over."""

    overwrite: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether the results that the output folder holds are replaced."""

    crops: Annotated[Literal["aligned", "margin"] | None, Option(panel=OUTPUT_PANEL)] = None
    """Write each face as a file: turned upright and scaled by its landmarks, or cut out with a margin; empty: none."""

    crop_size: Annotated[int, Option(panel=OUTPUT_PANEL, metavar="PX")] = Field(default=112, gt=0)
    """Side of aligned crops in pixels."""

    crop_margin: Annotated[float, Option(panel=OUTPUT_PANEL)] = Field(default=0.25, ge=0)
    """Margin of margin crops on each side, as part of the box's side."""

    anonymize: Annotated[Literal["blur", "pixelate"] | None, Option(panel=OUTPUT_PANEL)] = None
    """Write the images with the faces made unrecognisable; empty: no."""

    strict: Annotated[bool, Option(panel=OUTPUT_PANEL)] = False
    """Whether to exit with 1 if any image cannot be read."""

    @property
    def needs_originals(self) -> bool:
        """Whether the images themselves are needed after they were resized."""
        return (
            self.visualize or self.embed_crops or self.crops is not None or self.anonymize is not None or bool(self.tta)
        )

    def identity(self) -> dict[str, Any]:
        """All settings that decide what a result file holds."""
        names = {"crop_size", "crop_margin", "save"}
        if self.save == "parts":
            names |= {"part_format", "part_size", "embed_crops"}
        return {**super().identity(), **self.model_dump(include=names)}

    @model_validator(mode="after")
    def _check_together(self) -> InferSettings:
        if self.resume and self.overwrite:
            raise ValueError("resume and overwrite exclude each other")
        if self.resume and self.output is None:
            raise ValueError("resume needs output: the folder to go on with")
        if self.save == "parts" and (self.visualize or self.crops or self.anonymize or self.html):
            raise ValueError(
                "visualize, crops, anonymize and html need files for each image, and save parts writes none"
            )
        if self.save != "parts" and self.embed_crops:
            raise ValueError("embed_crops needs save parts; crops writes each face as a file")
        if "-" in self.inputs and (self.devices != 1 or self.num_nodes != 1):
            raise ValueError("standard input can only be read by one process; put the paths in a file and give @file")
        return self
