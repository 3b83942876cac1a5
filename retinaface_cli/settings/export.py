"""Settings of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from retinaface_cli.settings.base import Option
from retinaface_cli.settings.detection import KeepTopK, NmsIouThreshold, ScoreThreshold, WeightsSettings

ENDINGS = (".onnx", ".xml")
"""Of the files that can be written: ONNX, and OpenVINO's, which has its weights beside it in a .bin."""

_END_TO_END_PANEL = "With --end2end"

Side = Annotated[int, Field(ge=32, le=8192)]


class ExportSettings(WeightsSettings):
    """Which weights become which file."""

    weights: Annotated[str, Option(is_argument=True)] = "yunet"
    """Weights file of any RetinaFace family, or the name of published weights; mobilenet0.25 and yunet come with the
    package."""

    output: Annotated[Path | None, Option(short="-o", metavar="FILE.onnx|FILE.xml")] = None
    """File to write: .onnx, or .xml for OpenVINO, with a .bin beside it."""

    size: Annotated[tuple[Side, Side] | None, Option(metavar="H W")] = None
    """Height and width in pixels of the only images that the network is to take; their number in a batch stays open;
    empty: images of any size."""

    end2end: Annotated[bool, Option()] = False
    """Whether decoding and suppression are inside: outputs boxes, scores and landmarks instead of the raw heads."""

    half: Annotated[bool, Option()] = False
    """Whether the weights are stored in 16 bits, which halves the file; the network still computes in 32."""

    opset: Annotated[int, Option()] = Field(default=17, ge=13, le=20)
    """Version of ONNX's operators."""

    score_threshold: Annotated[ScoreThreshold, Option(panel=_END_TO_END_PANEL, metavar="0-1")] = 0.7
    """Only faces with a score above this come out."""

    nms_iou_threshold: Annotated[NmsIouThreshold, Option(panel=_END_TO_END_PANEL, metavar="0-1")] = 0.4
    """Overlap (IoU) above which the weaker of two boxes is dropped."""

    keep_top_k: Annotated[KeepTopK, Option(panel=_END_TO_END_PANEL)] = 750
    """Largest number of faces in an image."""

    licence: Annotated[str | None, Option(metavar="TEXT")] = None
    """Licence of the weights, for the file; empty: as far as it is known."""

    force: Annotated[bool, Option(short="-f")] = False
    """Whether existing files are replaced."""

    @property
    def is_openvino(self) -> bool:
        """Whether the file is OpenVINO's, and no ONNX."""
        return self.output is not None and self.output.suffix == ".xml"

    @property
    def suppression(self) -> dict[str, float]:
        """The settings that an end-to-end network has inside."""
        return self.model_dump(include={"score_threshold", "nms_iou_threshold", "keep_top_k"})

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are written."""
        assert self.output is not None
        return (self.output, self.output.with_suffix(".bin")) if self.is_openvino else (self.output,)

    @model_validator(mode="after")
    def _check_together(self) -> ExportSettings:
        if self.output is None or self.output.suffix not in ENDINGS:
            raise ValueError("name the file to write with --output: model.onnx, or model.xml for OpenVINO")
        given = self.model_fields_set & self.suppression.keys()
        if given and not self.end2end:
            raise ValueError(f"{', '.join(sorted(given))}: only with end2end; without it the heads come out raw")
        if self.is_openvino and "opset" in self.model_fields_set:
            raise ValueError("opset is of ONNX files alone")
        return self
