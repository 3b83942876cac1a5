"""The detector: images in, faces in original pixels out. The Python API, and what every command runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retinaface_cli.data.preprocessing import (
    Resizer,
    ScaledImage,
    TestScale,
    decode_at_scale,
    load_rgb,
    read_image_bytes,
)
from retinaface_cli.detection.backends import build_forward_pass
from retinaface_cli.detection.coarse_pass import enlarge, is_hinted, merge_passes, shrink, shrink_factor
from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.detection.rescoring import RESCORED, Rescorer
from retinaface_cli.detection.stages import described_by, measured_stages, settle
from retinaface_cli.detection.tta import detect_augmented
from retinaface_cli.detection.weights import load_network, resolve_weights
from retinaface_cli.errors import ImageReadError, SettingsError, shown
from retinaface_cli.faces import FaceDetections, RgbImage
from retinaface_cli.geometry.anchors import padded_size
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.postprocess import postprocess
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.detection import DetectionSettings

ImageInput = Any
"""An image for the Python API: (H, W, 3) uint8 RGB, a PIL image, or a file."""

_OF_THE_NETWORK = ("weights", "preprocessing", "anchors", "backend", "precision")
"""Settings by which the network is prepared."""

_API_DEFAULTS = {"max_size": "original", "precision": "32"}


class FaceDetector:
    """Finds faces in images.

    Example:
        detector = FaceDetector.load("retinaface_mv1_0.25.pth", max_size=960)
        faces = detector.detect("photo.jpg")
        faces.boxes, faces.landmarks, faces.scores
    """

    def __init__(
        self,
        weights: LoadedWeights | NetworkFile,
        settings: DetectionSettings | None = None,
        *,
        device: str | torch.device = "auto",
        in_parallel: bool = False,
    ) -> None:
        """Makes a detector of loaded weights.

        Args:
            weights: of the network, or a network in an .onnx or .xml file, which runs on the CPU.
            settings: how faces are found; None: the API's defaults, see load.
            device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
            in_parallel: whether several threads will detect at once; see build_forward_pass.
        """
        self.weights = weights
        self.settings = settle(settings or DetectionSettings.model_validate(_API_DEFAULTS), weights)
        is_file = isinstance(weights, NetworkFile)
        self.device = resolve_device("cpu" if is_file and device == "auto" else device)
        if is_file and self.device.type != "cpu":
            raise SettingsError(f"{shown(weights.path)}: runs on the CPU, not on {self.device.type}; take device cpu")
        self._in_parallel = in_parallel
        self._build()

    @classmethod
    def load(cls, weights: str | Path, *, device: str | torch.device = "auto", **options: Any) -> FaceDetector:
        """Loads weights of any RetinaFace family, or a network in an .onnx or .xml file.

        Args:
            weights: a file, or the name of published weights, which are downloaded once.
            device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
            **options: fields of DetectionSettings, as `retinaface infer --help` explains them. Other than there, images
                go through the network as they are and in 32 bits unless max_size and precision say otherwise.

        Raises:
            CheckpointError: the weights cannot be found or used.
            SettingsError: an option is unknown or out of range, or the device is not there.
        """
        values = {**_API_DEFAULTS, **options, "weights": str(weights)}
        settings = validate_settings(DetectionSettings, values, source="FaceDetector")
        return cls(load_network(resolve_weights(settings.weights), settings), settings, device=device)

    def _build(self) -> None:
        self._scale = TestScale.of(self.settings)
        self._forward = build_forward_pass(
            self.weights, self.settings, device=self.device, in_parallel=self._in_parallel
        )
        self._rescorer = Rescorer(self._forward, described_by(self.weights).preprocessing, self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Without the prepared network, which no library hands to another process."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_forward", "_rescorer")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Prepares the network again."""
        self.__dict__.update(state)
        self._build()

    @property
    def description(self) -> str:
        """Library and precision that run the network, for the user to read."""
        return self._forward.description

    @property
    def num_parallel(self) -> int:
        """Threads that may detect at once, and should where there is enough to do; see CallThreads."""
        return self._forward.num_parallel

    def with_settings(self, **changes: Any) -> FaceDetector:
        """A detector that shares this one's network and differs in scale or postprocessing.

        Raises:
            SettingsError: an option is unknown, out of range, or asks for another network.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        values = {**self.settings.model_dump(), **changes}
        other.settings = settle(validate_settings(DetectionSettings, values, source="FaceDetector"), self.weights)
        for name in _OF_THE_NETWORK:
            if getattr(other.settings, name) != getattr(self.settings, name):
                raise SettingsError(f"{name}: asks for another network; make a detector with FaceDetector.load")
        other._scale = TestScale.of(other.settings)
        return other

    def detect(self, image: ImageInput) -> FaceDetections:
        """Finds the faces of one image: (H, W, 3) uint8 RGB, a PIL image, or a file.

        Returns:
            Faces in pixels of the image (upright by EXIF), best first, boxes clipped to it.

        Raises:
            ImageReadError: the file cannot be read, or it is no such image.
        """
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[ImageInput]) -> list[FaceDetections]:
        """Finds the faces of several images of any sizes, each as detect takes it.

        Images whose network inputs round up to the same multiples of 32 go through the network together; the result
        does not depend on the company.
        """
        if isinstance(images, str | Path):
            raise ImageReadError(f"expected a list of images, got {shown(images)}; FaceDetector.detect takes one")
        prepared = [self._prepare(image) for image in images]
        resized, resizers, originals = zip(*prepared, strict=True) if prepared else ((), (), ())
        return self.detect_prepared(resized, resizers, originals)

    def _prepare(self, image: ImageInput) -> ScaledImage:
        """An image on its way into the network; itself where test-time augmentation needs it."""
        if isinstance(image, str | Path):
            data = read_image_bytes(Path(image))
            return decode_at_scale(data, self._scale, name=shown(image), keep_original=bool(self.settings.tta))
        whole = as_rgb(image)
        resizer = Resizer.for_scale(_size(whole), self._scale)
        return ScaledImage(resizer.resize(whole), resizer, whole)

    def detect_prepared(
        self, resized: Sequence[RgbImage], resizers: Sequence[Resizer], originals: Sequence[RgbImage | None]
    ) -> list[FaceDetections]:
        """Finds the faces of images that are resized already.

        Args:
            resized: (h, w, 3) each, at network size.
            resizers: back to the images.
            originals: (H, W, 3) each; needed with test-time augmentation alone.

        Returns:
            Faces in pixels of the images, best first, boxes clipped to them.
        """
        if self.settings.tta:
            return detect_augmented(self, [image for image in originals if image is not None])
        return self.detect_scaled(resized, resizers)

    def detect_scaled(self, resized: Sequence[RgbImage], resizers: Sequence[Resizer]) -> list[FaceDetections]:
        """One pass of detect_prepared; those that round up to the same multiples of 32 go through the network together.

        Args:
            resized: (h, w, 3) uint8 RGB each, at network size.
            resizers: back to the images.

        Returns:
            Faces in pixels of the images, best first, boxes clipped to them.
        """
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, resizer in enumerate(resizers):
            groups[padded_size(resizer.network_size)].append(index)
        results: list[FaceDetections] = [FaceDetections.empty()] * len(resized)
        for indices in groups.values():
            found = self.detect_resized([resized[index] for index in indices])
            for index, faces in zip(indices, found, strict=True):
                results[index] = resizers[index].restore(faces)
        return results

    @property
    def _rescores(self) -> bool:
        return self.settings.rescore and not self.settings.tta

    def target_size(self, image: RgbImage) -> tuple[int, int]:
        """(height, width) at which an image goes through the network."""
        return self._scale.target_size(_size(image))

    @torch.inference_mode()
    def detect_resized(self, images: Sequence[RgbImage]) -> list[FaceDetections]:
        """Finds faces in images that have network size already; one batch, coordinates in its pixels."""
        settings = self.settings
        has_coarse_pass = bool(settings.coarse_pass) and not settings.tta
        faces, hinted = self._run_pass(images, with_hints=has_coarse_pass)
        shrunk = [shrink(images[index]) for index in hinted]
        for index, found in zip(hinted, self._run_pass(shrunk, with_hints=False)[0] if shrunk else [], strict=True):
            factor = shrink_factor(images[index])
            sides = measured_stages(self.weights).shared_sides
            merged = merge_passes(
                faces[index],
                enlarge(found, factor),
                nms_iou_threshold=settings.nms_iou_threshold,
                shared_sides=sides and (sides[0] * factor, sides[1] * factor),
            )
            faces[index] = merged.select(np.arange(min(len(merged), settings.keep_top_k)))
        if not self._rescores:
            return faces
        return self._rescorer(images, faces, score_threshold=settings.score_threshold)

    def _run_pass(self, images: Sequence[RgbImage], *, with_hints: bool) -> tuple[list[FaceDetections], list[int]]:
        """Runs the network over one batch: the faces, and the images that may hold faces too large for it."""
        settings = self.settings
        if self._rescores:
            threshold = min(settings.score_threshold, RESCORED[0])
            settings = settings.model_copy(update={"score_threshold": threshold})
        faces: list[FaceDetections] = []
        hinted: list[int] = []
        for outputs, anchors in self._forward(images):
            first = len(faces)
            faces.extend(postprocess(outputs, anchors, settings))
            if with_hints:
                hints = is_hinted(outputs, anchors, images[first : len(faces)])
                hinted += [first + index for index, hint in enumerate(hints) if hint]
        return faces, hinted


def resolve_device(device: str | torch.device) -> torch.device:
    """The device by name; "auto" is a GPU where there is one.

    Raises:
        SettingsError: no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise SettingsError(f"device {device}: expected auto, cpu, cuda, cuda:N or mps") from None
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device {device}: this machine has {torch.cuda.device_count()} CUDA devices; try cpu")
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise SettingsError(f"device {device}: this machine has no GPU of Apple that torch can use; try cpu")
    return resolved


def as_rgb(image: ImageInput) -> RgbImage:
    """An image of the Python API as a contiguous (H, W, 3) uint8 array.

    Raises:
        ImageReadError: a file that cannot be read, or anything that is no such image.
    """
    if isinstance(image, str | Path):
        return load_rgb(Path(image))
    if hasattr(image, "convert") and hasattr(image, "getexif"):  # a PIL image, without importing PIL
        from PIL import ImageOps

        image = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if not isinstance(image, np.ndarray):
        hint = "; cv2.imread gives None for a file that it cannot read" if image is None else ""
        raise ImageReadError(f"expected an image as (H, W, 3) uint8 RGB, got {type(image).__name__}{hint}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageReadError(f"expected an image as (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
    return np.require(image, requirements=["C_CONTIGUOUS", "WRITEABLE"])  # torch warns of what it may not write to


def _size(image: RgbImage) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
