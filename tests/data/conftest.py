"""A small labelled data set, painted anew for each test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retinaface_cli.faces import FaceLabels
from tests.data.painted import face_labels, paint, write_image

IMAGES: dict[str, tuple[tuple[int, int], FaceLabels]] = {
    "a/one.jpg": ((120, 160), face_labels((20, 20, 80, 100))),
    "a/two.png": ((100, 90), face_labels((5, 5, 35, 45), (50, 40, 85, 90))),
    "b/none.jpg": ((80, 80), face_labels()),
    "b/wide.jpg": ((60, 200), face_labels((120, 10, 160, 50))),
}
"""Name -> (height, width), and faces."""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """A canonical label file with its images in the folder `images` beside it."""
    entries = []
    for name, (size, faces) in IMAGES.items():
        write_image(tmp_path / "images" / name, paint(size, faces))
        annotations = [
            {"bbox": box.tolist(), "landmarks": points.tolist()}
            for box, points in zip(faces.boxes, faces.landmarks, strict=True)
        ]
        entries.append({"file_name": name, "annotations": annotations})
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path
