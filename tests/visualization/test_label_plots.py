"""The plot of a set of labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats.label_statistics import summarize_labels
from retinaface_cli.visualization.label_plots import draw_label_statistics

ANCHORS = (16, 32, 64, 128, 256, 512)


@pytest.mark.parametrize("num_pictures", [0, 1, 30])
def test_any_number_of_pictures_is_drawn(num_pictures: int, tmp_path: Path) -> None:
    images = [
        ImageLabels(
            f"{i}.jpg", FaceLabels.from_boxes([[0, 0, 20 + k, 30] for k in range(i)]), 640 if i % 2 else None, 480
        )
        for i in range(num_pictures)
    ]
    path = tmp_path / "plot.png"
    draw_label_statistics(summarize_labels(images, ANCHORS), ANCHORS, path, title="faces")
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (770, 990, 3)
    colored = np.ptp(picture.astype(np.int16), axis=2) > 30
    assert colored.any()
