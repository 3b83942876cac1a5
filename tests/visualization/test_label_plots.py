"""The plot of a set of labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.statistics import summarize_labels
from retinaface_cli.visualization.label_plots import draw_label_statistics

ANCHORS = (16, 32, 64, 128, 256, 512)


@pytest.mark.parametrize("num_images", [0, 1, 30])
def test_any_number_of_images_is_drawn(num_images: int, tmp_path: Path) -> None:
    images = [
        ImageLabels(
            f"{i}.jpg", FaceLabels.from_boxes([[0, 0, 20 + k, 30] for k in range(i)]), 640 if i % 2 else None, 480
        )
        for i in range(num_images)
    ]
    path = tmp_path / "plot.png"
    draw_label_statistics(summarize_labels(FaceTable.from_images(images), ANCHORS), ANCHORS, path, title="faces")
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (770, 990, 3)
    colored = np.ptp(image.astype(np.int16), axis=2) > 30
    assert colored.any()
