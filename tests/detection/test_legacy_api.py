from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import retinaface_cli
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.errors import ImageReadError, SettingsError
from tests.detection.test_detector import noise, write_random_weights

PLAIN = {"rescore": False, "coarse_pass": False, "box_voting": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


def test_predict_jsons_shrinks_without_averaging(weights: Path) -> None:
    image = noise(333, 500)
    found = retinaface_cli.get_model(str(weights), max_size=160).predict_jsons(image, confidence_threshold=0.3)
    small = cv2.resize(image, (160, 107), interpolation=cv2.INTER_LINEAR)
    averaged = cv2.resize(image, (160, 107), interpolation=cv2.INTER_AREA)
    detector = FaceDetector.load(weights, device="cpu", score_threshold=0.3, **PLAIN)
    expected = detector.detect_resized([small])[0]  # type: ignore[list-item]
    other = detector.detect_resized([averaged])[0]  # type: ignore[list-item]
    factors = np.array([500 / 160, 333 / 107], np.float32)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found[0]["landmarks"], expected.landmarks[0] * factors, atol=0.0051)
    assert not np.allclose(expected.landmarks[0], other.landmarks[0], atol=0.1)


def test_wrong_arguments_give_one_clear_error(weights: Path) -> None:
    model = retinaface_cli.get_model(str(weights), max_size=160)
    with pytest.raises(ImageReadError, match=r"got NoneType; cv2\.imread gives None"):
        model.predict_jsons(None)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"score_threshold: .*less than or equal to 1, got 1\.5"):
        model.predict_jsons(noise(64, 64), confidence_threshold=1.5)
    with pytest.raises(SettingsError, match=r"nms_iou_threshold: .*greater than or equal to 0, got -1"):
        model.predict_jsons(noise(64, 64), nms_threshold=-1)
