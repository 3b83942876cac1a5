"""Networks on models of timm: every backend gives what the network as trained gives, in whatever company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.settings.detection import Backend
from tests.detection.test_detector import (
    assert_equal_faces,
    make_detector,
    noise,
    on_every_backend,
    plain_faces,
    write_random_weights,
)

pytest.importorskip("timm")


@pytest.fixture(scope="module", params=["timm/test_resnet", "timm/test_convnext"])
def weights_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(
        tmp_path_factory.mktemp("weights") / "w.safetensors", backbone=request.param, preprocessing="imagenet-rgb"
    )


@on_every_backend
def test_padding_and_normalisation_change_nothing(weights_path: Path, backend: Backend) -> None:
    detector = make_detector(load_weights(weights_path), backend=backend)
    for size in ((64, 96), (75, 131)):
        image = noise(*size)
        assert_equal_faces(detector.detect_resized([image])[0], plain_faces(weights_path, image))


def test_faces_do_not_depend_on_the_images_beside_theirs(weights_path: Path) -> None:
    images = [noise(*size, seed=i) for i, size in enumerate([(75, 131), (64, 96), (90, 130), (75, 131), (33, 20)])]
    detector = make_detector(load_weights(weights_path), backend="torch")
    alone = [detector.detect_resized([image])[0] for image in images]
    for found, expected in zip(detector.detect_batch(images), alone, strict=True):
        assert len(found) == len(expected)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
