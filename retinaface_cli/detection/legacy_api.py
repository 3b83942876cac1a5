"""The Python interface of ternaus/retinaface, so that code written for it moves by changing its import."""

from __future__ import annotations

from typing import Any

import torch

from retinaface_cli.data.preprocessing import Resizer, RgbImage, TestScale
from retinaface_cli.detection.detector import FaceDetector, check_image
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.faces import FaceDetections
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.model.postprocess import PostprocessOptions

_DIGITS = 2


class OldModel:
    """What get_model returns; its methods are those of the old package."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def eval(self) -> OldModel:
        """Returns itself: the network is always in evaluation mode."""
        return self

    def predict_jsons(
        self, image: RgbImage, confidence_threshold: float = 0.7, nms_threshold: float = 0.4
    ) -> list[dict[str, Any]]:
        """Finds the faces of an image, (H, W, 3) uint8 RGB.

        Returns:
            One {"bbox": [x_min, y_min, x_max, y_max], "score": s, "landmarks": [[x, y] x 5]} a face, best first, in
            pixels of the image rounded to two digits, boxes not clipped to it; without faces the one entry
            {"bbox": [], "score": -1, "landmarks": []}.
        """
        check_image(image)
        options = PostprocessOptions(score_threshold=confidence_threshold, nms_iou_threshold=nms_threshold)
        detector = self._detector.with_options(options=options)
        resizer = Resizer.for_scale((image.shape[0], image.shape[1]), detector.scale)
        found = detector.detect_resized([resizer.resize(image)])[0]
        return _to_jsons(resizer.restore(found, clip=False)) or [{"bbox": [], "score": -1, "landmarks": []}]


def get_model(model_name: str, max_size: int, device: str | torch.device = "cpu") -> OldModel:
    """Loads weights the way the old package does.

    Args:
        model_name: "resnet50_2020-07-20", another published name, or a file.
        max_size: longest side in pixels that images are resized to, up and down.
        device: "cpu", "cuda", ...

    Raises:
        CheckpointError: the weights cannot be found or used.
    """
    weights = load_weights(resolve_weights(model_name))
    return OldModel(FaceDetector(weights, device=device, scale=TestScale(long_side=max_size)))


def _to_jsons(faces: FaceDetections) -> list[dict[str, Any]]:
    """The faces as the old package writes them."""
    return [
        {
            "bbox": [round(float(value), _DIGITS) for value in box],
            "score": round(float(score), _DIGITS),
            "landmarks": [[round(float(x), _DIGITS), round(float(y), _DIGITS)] for x, y in points],
        }
        for box, score, points in zip(faces.boxes, faces.scores, faces.landmarks, strict=True)
    ]
