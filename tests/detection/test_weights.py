from __future__ import annotations

import json
from pathlib import Path

import fsspec
import numpy as np
import pytest

from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.weights import PACKAGED_NAME, licence_of, resolve_weights
from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.loading import load_weights
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "images"


@pytest.mark.parametrize(("name", "max_bytes"), [("mobilenet0.25", 1_900_000), ("yunet", 200_000)])
def test_the_packaged_detectors_are_small_and_say_how_they_were_made(name: str, max_bytes: int) -> None:
    path = resolve_weights(name)
    assert path.stat().st_size <= max_bytes
    weights = load_weights(path)
    assert licence_of(weights) in weights.training["start"]
    assert weights.training["recipe"].startswith(f"retinaface train examples/configs/packaged_{name}.yaml")


def test_the_licence_of_packaged_weights_by_others_is_in_the_package() -> None:
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    for part in ("yunet.safetensors", "Shiqi Yu", "Apache License", "END OF TERMS AND CONDITIONS"):
        assert part in text


@pytest.mark.parametrize("name", ["mobilenet0.25", "yunet"])
def test_the_packaged_detectors_find_every_face_of_the_example_images_and_no_other(name: str) -> None:
    detector = FaceDetector.load(name, device="cpu", max_size=960)
    labels = json.loads((EXAMPLES / "labels.json").read_text(encoding="utf-8"))
    assert sum(len(image["annotations"]) for image in labels) == 82
    for image in labels:
        faces = detector.detect(EXAMPLES / image["file_name"])
        assert len(faces) == len(image["annotations"])
        centers = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        for face in image["annotations"]:
            x1, y1, x2, y2 = face["bbox"]
            assert (((centers >= [x1, y1]) & (centers <= [x2, y2])).all(axis=1)).sum() == 1


@pytest.mark.parametrize("name", ["mobilenet0.25", "yunet"])
def test_points_of_a_portrait_lie_on_the_labelled_ones(name: str) -> None:
    labels = json.loads((EXAMPLES / "labels.json").read_text(encoding="utf-8"))
    portrait = next(image for image in labels if image["file_name"] == "astronaut.jpg")
    truth = np.array(portrait["annotations"][0]["landmarks"])
    faces = FaceDetector.load(name, device="cpu", max_size=960).detect(EXAMPLES / "astronaut.jpg")
    errors = np.linalg.norm(faces.landmarks[0] - truth, axis=1) / np.linalg.norm(truth[1] - truth[0])
    assert errors.mean() < 0.1


def test_a_name_that_nobody_knows_lists_those_that_are_known() -> None:
    with pytest.raises(CheckpointError, match=r"no published weights of that name: yunet, mobilenet0\.25, "):
        resolve_weights("mobilenet9")


def test_weights_at_an_address_are_copied_into_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETINAFACE_CACHE", str(tmp_path))
    content = resolve_weights(PACKAGED_NAME).read_bytes()
    memory = fsspec.filesystem("memory")
    memory.pipe("/weights/w.safetensors", content)
    path = resolve_weights("memory://weights/w.safetensors")
    assert path.read_bytes() == content
    assert path.is_relative_to(tmp_path)
    memory.rm("/weights", recursive=True)
    assert resolve_weights("memory://weights/w.safetensors") == path
    with pytest.raises(CheckpointError, match=r"memory://weights/other.pth: no such file"):
        resolve_weights("memory://weights/other.pth")
    memory.pipe("/weights/page.pth", b"<html>Log in to the network</html>")
    with pytest.raises(CheckpointError, match=r"^memory://weights/page.pth: is a web page, not weights"):
        resolve_weights("memory://weights/page.pth")
    assert [file.name for file in (tmp_path / "addresses").iterdir()] == [path.name]
