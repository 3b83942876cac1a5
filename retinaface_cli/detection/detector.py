"""The detector: images in, faces in original pixels out. The Python API, and what every command runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from retinaface_cli.data.preprocessing import Resizer, RgbImage, TestScale, load_rgb
from retinaface_cli.detection.backends import Backend, Precision, build_forward_pass
from retinaface_cli.detection.coarse_pass import enlarge, hint_at_close_ups, merge_looks, shrink, shrink_factor
from retinaface_cli.detection.rescoring import DOUBTFUL_SCORES, DoubleCheck
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.errors import ImageReadError, SettingsError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.geometry.anchors import padded_size
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_weights
from retinaface_cli.model.postprocess import PostprocessOptions, postprocess


class FaceDetector:
    """Finds faces in images.

    Example:
        detector = FaceDetector.load("retinaface_mv1_0.25.pth", max_size=960)
        faces = detector.detect("photo.jpg")
        faces.boxes, faces.landmarks, faces.scores
    """

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "32",
        backend: Backend = "auto",
        scale: TestScale | None = None,
        options: PostprocessOptions | None = None,
        multi_scale: bool = False,
        double_check: bool = False,
        in_parallel: bool = False,
    ) -> None:
        """Makes a detector of loaded weights; see load for the arguments, and build_forward_pass for in_parallel."""
        self.weights = weights
        self.device = resolve_device(device)
        self.scale = scale or TestScale()
        self.options = options or PostprocessOptions()
        self.multi_scale = multi_scale
        self._forward = build_forward_pass(
            weights, backend=backend, device=self.device, precision=precision, in_parallel=in_parallel
        )
        self._double_check = DoubleCheck(self._forward, weights.network, self.device) if double_check else None

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "32",
        backend: Backend = "auto",
        max_size: int | None = None,
        upscale: bool = True,
        score_threshold: float = 0.7,
        nms_iou_threshold: float = 0.4,
        preprocessing: str | None = None,
        multi_scale: bool = True,
        box_voting: bool = True,
        double_check: bool = True,
    ) -> FaceDetector:
        """Loads weights of any RetinaFace family.

        Args:
            weights: a file, or the name of published weights, which are downloaded once.
            device: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".
            precision: "32", "16", "bf16", or "auto": bf16 on a CPU that has instructions for it, else 32. Boxes are
                always decoded in float32.
            backend: "torch", "openvino" or "onnx" (ONNX Runtime), the latter two for the CPU, where they are faster;
                "auto": the fastest that is installed.
            max_size: longest side in pixels that images are resized to; None: as they are.
            upscale: whether images smaller than max_size are enlarged to it.
            score_threshold: faces must score above it, in [0, 1].
            nms_iou_threshold: overlap above which the weaker of two boxes is dropped, in [0, 1].
            preprocessing: "imagenet-rgb" or "mean-bgr", for old files that are not known.
            multi_scale: whether large images get a second, small look for faces larger than the largest anchors.
            box_voting: whether a face gets the mean of all boxes that the suppression takes for it, weighted by the
                cube of their scores, instead of the best one.
            double_check: whether faces of which the network is in doubt are looked at again, from close by, and scored
                by both looks; without effect where the anchors are for other sizes.

        Raises:
            CheckpointError: the weights cannot be found or used.
            SettingsError: the device, precision or backend is not there.
        """
        return cls(
            load_weights(resolve_weights(str(weights)), preprocessing=preprocessing),
            device=device,
            precision=precision,
            backend=backend,
            scale=TestScale(long_side=max_size, upscale=upscale),
            options=PostprocessOptions(
                score_threshold=score_threshold, nms_iou_threshold=nms_iou_threshold, box_voting=box_voting
            ),
            multi_scale=multi_scale,
            double_check=double_check,
        )

    @property
    def description(self) -> str:
        """Library and precision that run the network, for the user to read."""
        return self._forward.description

    @property
    def num_parallel(self) -> int:
        """Threads that may detect at once, and should where there is enough to do; see CallThreads."""
        return self._forward.num_parallel

    def with_options(
        self, *, scale: TestScale | None = None, options: PostprocessOptions | None = None
    ) -> FaceDetector:
        """A detector that shares this one's network and differs in scale or postprocessing."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.scale, other.options = scale or self.scale, options or self.options
        return other

    def detect(self, image: RgbImage | str | Path) -> FaceDetections:
        """Finds the faces of one image: (H, W, 3) uint8 RGB, or a file.

        Returns:
            Faces in pixels of the image (upright by EXIF), best first, boxes clipped to it.

        Raises:
            ImageReadError: the file cannot be read, or the array is no such image.
        """
        loaded = load_rgb(Path(image)) if isinstance(image, str | Path) else image
        return self.detect_batch([loaded])[0]

    def detect_batch(self, images: Sequence[RgbImage]) -> list[FaceDetections]:
        """Finds the faces of several images of any sizes: (H, W, 3) uint8 RGB each.

        Images whose network inputs round up to the same multiples of 32 go through the network together; the result
        does not depend on the company.
        """
        for image in images:
            check_image(image)
        resizers = [Resizer.for_scale(_size(image), self.scale) for image in images]
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, resizer in enumerate(resizers):
            groups[padded_size(resizer.network_size)].append(index)
        results: list[FaceDetections] = [FaceDetections.empty()] * len(images)
        for indices in groups.values():
            found = self.detect_resized([resizers[i].resize(images[i]) for i in indices])
            for index, faces in zip(indices, found, strict=True):
                results[index] = resizers[index].restore(faces)
        return results

    @torch.inference_mode()
    def detect_resized(self, images: Sequence[RgbImage]) -> list[FaceDetections]:
        """Finds faces in images that have network size already; one batch, coordinates in its pixels."""
        faces, is_hinted = self._look(images, for_close_ups=self.multi_scale)
        large = [index for index, hinted in enumerate(is_hinted) if hinted]
        shrunk = [shrink(images[index]) for index in large]
        for index, found in zip(large, self._look(shrunk, for_close_ups=False)[0] if shrunk else [], strict=True):
            second = enlarge(found, shrink_factor(images[index]))
            merged = merge_looks(faces[index], second, nms_iou_threshold=self.options.nms_iou_threshold)
            faces[index] = merged.select(np.arange(min(len(merged), self.options.keep_top_k)))
        if self._double_check is None:
            return faces
        return self._double_check(images, faces, score_threshold=self.options.score_threshold)

    def _look(self, images: Sequence[RgbImage], *, for_close_ups: bool) -> tuple[list[FaceDetections], list[bool]]:
        """Runs the network over one batch: the faces, and whether there are hints at close-ups."""
        options = self.options
        if self._double_check is not None:
            options = replace(options, score_threshold=min(options.score_threshold, DOUBTFUL_SCORES[0]))
        faces: list[FaceDetections] = []
        is_hinted: list[bool] = []
        for outputs, anchors in self._forward(images):
            seen = images[len(faces) : len(faces) + len(outputs.class_logits)]
            faces.extend(postprocess(outputs, anchors, options))
            is_hinted.extend(hint_at_close_ups(outputs, anchors, seen) if for_close_ups else [False] * len(seen))
        return faces, is_hinted


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
        raise SettingsError(f"device {device}: there are {torch.cuda.device_count()} CUDA devices here; try cpu")
    return resolved


def check_image(image: npt.NDArray[np.uint8]) -> None:
    """Raises ImageReadError unless the array is an image (H, W, 3) uint8 with at least one pixel."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ImageReadError(f"expected an image as (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")


def _size(image: RgbImage) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
