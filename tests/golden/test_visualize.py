"""Drawings of labels and predictions, to the pixel where OpenCV draws in whole numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.golden.face_files import HEIGHT, WIDTH, make_labels, make_predictions, write_json
from tests.golden.golden import (
    Tolerance,
    check_json,
    describe_image,
    read_image,
    relative_files,
    retinaface,
    write_image,
)

LABELS = ("--labels", "labels.json")
PREDICTIONS = ("--predictions", "predictions.json")
STYLES = {
    "labels": LABELS,
    "predictions": PREDICTIONS,
    "both": (*LABELS, *PREDICTIONS, "--min-score", "0.3"),
    "classic": (*LABELS, *PREDICTIONS, "--style", "classic"),
    "without_scores": (*PREDICTIONS, "--no-scores"),
    "without_landmarks": (*LABELS, *PREDICTIONS, "--no-landmarks"),
}
BLENDED = {
    "grid": (*LABELS, *PREDICTIONS, "--grid", "2"),
    "blurred": (*LABELS, "--anonymize", "blur"),
    "pixelated": (*PREDICTIONS, "--anonymize", "pixelate"),
}


def visualize(root: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    """The folder of the drawings; labels and predictions are made in the working folder."""
    monkeypatch.chdir(root)
    labels = make_labels(7)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number, image in enumerate(labels):
        channels = [(columns // 2 + 10 * number) % 256, rows % 256, (rows + columns) // 3 % 256]
        write_image(root / "images" / image["file_name"], np.stack(channels, axis=2).astype(np.uint8))
    write_json(root / "labels.json", labels)
    write_json(root / "predictions.json", make_predictions(labels))
    assert retinaface("visualize", "images", "-o", "out", "--format", "png", *options) == 0
    return root / "out"


@pytest.mark.parametrize("style", STYLES)
def test_every_pixel_is_drawn_as_ever(style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = visualize(tmp_path, monkeypatch, *STYLES[style])
    drawn = {name: hashlib.sha256(read_image(output / name).tobytes()).hexdigest() for name in relative_files(output)}
    check_json(f"visualize/{style}", drawn)


@pytest.mark.parametrize("style", BLENDED)
def test_sheets_and_hidden_faces_look_as_ever(style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = visualize(tmp_path, monkeypatch, *BLENDED[style])
    drawn = {name: describe_image(output / name) for name in relative_files(output)}
    check_json(f"visualize/{style}", drawn, mean_color=Tolerance(absolute=0.1))
