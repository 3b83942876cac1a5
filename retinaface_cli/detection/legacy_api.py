"""The Python interface of ternaus/retinaface, so that code written for it moves by changing its import."""

from __future__ import annotations

from typing import Any

import cv2
import torch

from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.detection.detector import FaceDetector, as_rgb
from retinaface_cli.faces import FaceDetections, RgbImage

_DIGITS = 2


class LegacyModel:
    """What get_model returns; its methods are those of the package of ternaus."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector

    def eval(self) -> LegacyModel:
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
        pixels = as_rgb(image)
        detector = self._detector.with_settings(score_threshold=confidence_threshold, nms_iou_threshold=nms_threshold)
        resizer = Resizer((pixels.shape[0], pixels.shape[1]), detector.target_size(pixels))
        height, width = resizer.network_size
        # bilinear without averaging, as the older package resizes
        found = detector.detect_resized([cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)])[0]  # type: ignore[list-item]
        return _to_jsons(resizer.restore(found, clip=False)) or [{"bbox": [], "score": -1, "landmarks": []}]


def get_model(model_name: str, max_size: int, device: str | torch.device = "cpu") -> LegacyModel:
    """Loads weights as the package of ternaus does.

    Args:
        model_name: "resnet50_2020-07-20", another published name, or a file.
        max_size: longest side in pixels that images are resized to, up and down.
        device: "cpu", "cuda", ...

    Raises:
        CheckpointError: the weights cannot be found or used.
    """
    plain = {"box_voting": False, "rescore": False, "coarse_pass": False}
    return LegacyModel(FaceDetector.load(model_name, device=device, max_size=max_size, **plain))


def _to_jsons(faces: FaceDetections) -> list[dict[str, Any]]:
    """The faces as the package of ternaus writes them."""
    return [
        {
            "bbox": [round(float(value), _DIGITS) for value in box],
            "score": round(float(score), _DIGITS),
            "landmarks": [[round(float(x), _DIGITS), round(float(y), _DIGITS)] for x, y in points],
        }
        for box, score, points in zip(faces.boxes, faces.scores, faces.landmarks, strict=True)
    ]
