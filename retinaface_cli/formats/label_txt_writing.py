"""Writing RetinaFace's label.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retinaface_cli.faces import NUM_LANDMARKS, FaceLabels, ImageLabels
from retinaface_cli.formats.decimals import decimal_boxes_xywh, number_words, shortest_decimals
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS, Float64Array, read_occlusion
from retinaface_cli.formats.flat_labels import flatten_labels
from retinaface_cli.formats.retinaface_text import LANDMARK_BLUR


def write_label_txt(path: Path, images: Sequence[ImageLabels]) -> None:
    """Writes `# path` and a line a face; five points and a blur on every line if any face has them.

    The format cannot mark ignored faces, which are left out so that nobody learns them.
    """
    kept = [ImageLabels(image.file_name, image.faces.select(~image.faces.ignore)) for image in images]
    flat = flatten_labels(kept)
    values = _columns(flat.faces)
    num_columns = values.shape[1]
    words = iter(number_words(values))
    lines = [" ".join(row) for row in zip(*[words] * num_columns, strict=True)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for image, end, count in zip(images, flat.ends.tolist(), flat.num_faces.tolist(), strict=True):
            file.write("\n".join([f"# {image.file_name}", *lines[end - count : end]]) + "\n")


def _columns(faces: FaceLabels) -> Float64Array:
    """(N, 4) numbers, or (N, 20) if anything but boxes is known."""
    boxes = decimal_boxes_xywh(faces.boxes)
    nothing = np.full(len(faces), np.nan, np.float32)
    blur = shortest_decimals(faces.attributes.get(LANDMARK_BLUR, nothing))
    has = faces.has_landmarks
    if not has.any() and not np.isfinite(blur).any():
        return boxes
    points = np.full((len(faces), NUM_LANDMARKS, 3), -1.0)
    points[has, :2] = shortest_decimals(faces.landmarks[has])
    points[has, 2] = read_occlusion(faces.attributes.get(OCCLUDED_LANDMARKS, nothing))[has]
    return np.concatenate([boxes, points.reshape(len(faces), -1), np.nan_to_num(blur, nan=-1.0)[:, None]], axis=1)
