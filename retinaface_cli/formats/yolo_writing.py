"""Writing YOLO and YOLO-pose labels: a folder with `labels/<image>.txt` and data.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, NUM_LANDMARKS, FaceLabels, ImageLabels
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS, read_occlusion

_NUMBER = "%.15g"
"""Far finer than float32 in pixels, so that a face reads back the same."""


def write_yolo(folder: Path, images: Sequence[ImageLabels]) -> None:
    """Writes a text file an image, with five points `x y v` if any face has landmarks, into an empty folder.

    The format cannot mark ignored faces, which are left out so that nobody learns them.

    Raises:
        RetinaFaceError: the size of an image is not known, or two images would share a text file.
    """
    has_landmarks = any(image.faces.has_landmarks.any() for image in images)
    for image in images:
        path = folder / "labels" / _text_name(image.file_name)
        if path.exists():
            raise RetinaFaceError(f"{image.file_name}: another image has the same YOLO label file {path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_image_text(image, with_landmarks=has_landmarks), encoding="utf-8", newline="\n")
    (folder / "data.yaml").write_text(_data_yaml(with_landmarks=has_landmarks), encoding="utf-8", newline="\n")


def _text_name(file_name: str) -> PurePosixPath:
    """Path of an image's text file below `labels`."""
    name = PurePosixPath(file_name)
    if name.is_absolute() or ".." in name.parts:
        name = PurePosixPath(name.name)
    return name.with_suffix(".txt")


def _image_text(image: ImageLabels, *, with_landmarks: bool) -> str:
    """The lines of one image."""
    if not image.width or not image.height:
        raise RetinaFaceError(
            f"{image.file_name}: its size is not known, by which YOLO divides; name the images' folder with --images"
        )
    faces = image.faces.select(~image.faces.ignore)
    scale = np.array([image.width, image.height], np.float64)
    corners = faces.boxes.astype(np.float64).reshape(-1, 2, 2) / scale
    columns = [np.zeros((len(faces), 1)), corners.mean(axis=1), corners[:, 1] - corners[:, 0]]
    if with_landmarks:
        columns.append(_points(faces, scale))
    values = np.concatenate(columns, axis=1)
    row = " ".join(["%d", *[_NUMBER] * (values.shape[1] - 1)])
    return "".join(row % tuple(numbers) + "\n" for numbers in values.tolist())


def _points(
    faces: FaceLabels, scale: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(N, 15) x, y and 2 for visible, 1 for occluded, 0 for missing points."""
    has = faces.has_landmarks
    occluded = faces.attributes.get(OCCLUDED_LANDMARKS, np.zeros(len(faces), np.float32))
    is_occluded = read_occlusion(occluded)
    points = np.zeros((len(faces), NUM_LANDMARKS, 3))
    points[:, :, :2] = np.where(has[:, :, None], faces.landmarks / scale, 0.0)
    points[:, :, 2] = np.where(has, np.where(is_occluded, 1, 2), 0)
    return points.reshape(len(faces), 3 * NUM_LANDMARKS)


def _data_yaml(*, with_landmarks: bool) -> str:
    """The description of the data set; images are expected in `images` beside `labels`."""
    shape = f"kpt_shape: [{NUM_LANDMARKS}, 3]\nflip_idx: {list(LANDMARK_MIRROR_ORDER)}\n" if with_landmarks else ""
    return f"# put the images, or a link to them, into the folder images\ntrain: images\nnc: 1\nnames: [face]\n{shape}"
