"""The images of examples/images and the script that makes them."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.formats import read_labels
from tests.conftest import REPOSITORY

IMAGES = REPOSITORY / "examples" / "images"
NUM_FACES = {"astronaut.jpg": 1, "grace_hopper.jpg": 1, "gallery.jpg": 12, "table.jpg": 8, "yearbook.jpg": 60}


def test_every_image_has_its_labels_and_is_small() -> None:
    labels = read_labels(IMAGES / "labels.json")
    assert {image.file_name: len(image.faces) for image in labels.label_images()} == NUM_FACES
    assert labels.findings == ()
    assert sorted(path.name for path in IMAGES.glob("*.jpg")) == sorted(NUM_FACES)
    for image in labels.label_images():
        path = IMAGES / image.file_name
        assert path.stat().st_size < 200_000
        assert load_rgb(path).shape == (image.height, image.width, 3)
        assert image.faces.has_landmarks.all()


def test_points_lie_in_their_boxes_with_the_left_eye_on_the_left() -> None:
    for image in read_labels(IMAGES / "labels.json").label_images():
        boxes, points = image.faces.boxes, image.faces.landmarks
        assert (points >= boxes[:, None, :2]).all()
        assert (points <= boxes[:, None, 2:]).all()
        assert (points[:, 0, 0] < points[:, 1, 0]).all()
        assert (points[:, 3, 0] < points[:, 4, 0]).all()


@pytest.mark.slow
def test_the_script_makes_the_same_images_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("skimage")
    script = REPOSITORY / "examples" / "make_example_images.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
    runpy.run_path(str(script), run_name="__main__")
    assert (tmp_path / "labels.json").read_text() == (IMAGES / "labels.json").read_text()
    for name in NUM_FACES:
        difference = load_rgb(tmp_path / name).astype(int) - load_rgb(IMAGES / name)
        assert np.abs(difference).mean() < 0.5, name
