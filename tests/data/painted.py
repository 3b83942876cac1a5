"""Images of one painted face, whose points can be told by their colours wherever they go."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from retinaface_cli.faces import FaceLabels, RgbImage

BACKGROUND = (20, 20, 20)
SKIN = (110, 110, 110)
POINT_COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)])
"""Of left eye, right eye, nose, left and right corner of the mouth."""

UNIT_LANDMARKS = np.array([(0.3, 0.35), (0.7, 0.35), (0.45, 0.55), (0.3, 0.8), (0.6, 0.8)], np.float32)
"""In parts of the box's width and height; not symmetric."""


def face_labels(*boxes: tuple[float, float, float, float]) -> FaceLabels:
    """Faces with all five landmarks."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = array[:, None, :2] + UNIT_LANDMARKS * (array[:, None, 2:] - array[:, None, :2])
    n = len(array)
    return FaceLabels(array, landmarks, np.ones((n, 5), np.bool_), np.zeros(n, np.bool_))


def paint(size: tuple[int, int], faces: FaceLabels) -> RgbImage:
    """An image of (height, width) pixels with each face as a grey rectangle with five coloured dots."""
    image = np.full((*size, 3), BACKGROUND, np.uint8)
    for box, landmarks in zip(faces.boxes.round().astype(int), faces.landmarks, strict=True):
        image[box[1] : box[3], box[0] : box[2]] = SKIN
        for point, color in zip(landmarks, POINT_COLORS, strict=True):
            x, y = int(point[0]), int(point[1])
            image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4] = color
    return image


def write_image(path: Path, image: RgbImage) -> Path:
    """Writes the image; a JPEG in the best quality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 100] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), image[..., ::-1], options)
    return path


def nearest_point(color: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    """Which of the five points has this colour."""
    return int(np.argmin(np.abs(POINT_COLORS - color.astype(int)).sum(axis=1)))


def painted_box(image: RgbImage) -> tuple[int, int, int, int]:
    """x_min, y_min, x_max, y_max of all that is not background."""
    rows, columns = np.nonzero(np.abs(image.astype(int) - BACKGROUND).sum(axis=2) > 100)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
