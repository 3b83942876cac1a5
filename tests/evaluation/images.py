"""Small data sets for the protocols."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.io

from retinaface_cli.evaluation.matching import FaceMatches, match_faces
from retinaface_cli.faces import BoolArray, FaceDetections, FaceLabels, ImageDetections, ImageLabels
from retinaface_cli.formats import FaceTable

Box = Sequence[float]


def labelled(
    *boxes: Box, name: str = "a.jpg", ignore: Sequence[bool] = (), **attributes: Sequence[float]
) -> ImageLabels:
    plain = FaceLabels.from_boxes(boxes)
    faces = FaceLabels(
        boxes=plain.boxes,
        landmarks=plain.landmarks,
        has_landmarks=plain.has_landmarks,
        ignore=np.array(ignore or [False] * len(boxes), np.bool_),
        attributes={key: np.array(values, np.float32) for key, values in attributes.items()},
    )
    return ImageLabels(name, faces)


def detected(*faces: tuple[float, Box], name: str = "a.jpg") -> ImageDetections:
    """Faces as (score, box)."""
    return ImageDetections(
        name,
        FaceDetections(
            boxes=np.array([box for _, box in faces], np.float32).reshape(-1, 4),
            landmarks=np.full((len(faces), 5, 2), np.nan, np.float32),
            scores=np.array([score for score, _ in faces], np.float32),
        ),
    )


def tables(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections]) -> tuple[FaceTable, FaceTable]:
    return FaceTable.from_images(labels), FaceTable.from_images(detections)


def matched(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections]) -> FaceMatches:
    return match_faces(*tables(labels, detections))


def random_images(
    seed: int, *, num_images: int = 8, max_faces: int = 12, max_detections: int = 40
) -> tuple[list[ImageLabels], list[ImageDetections]]:
    """Whole-number boxes in a small image and few different scores, so that everything happens: ties, duplicates."""
    rng = np.random.default_rng(seed)
    labels, detections = [], []
    for number in range(num_images):
        faces = _random_boxes(rng, int(rng.integers(1, max_faces)))
        ignore = (rng.random(len(faces)) < 0.3).tolist()
        labels.append(labelled(*faces.tolist(), name=f"{number}.jpg", ignore=ignore))
        if number == 2:
            continue  # an image without predictions
        near = faces[rng.integers(0, len(faces), max_detections // 2)] + rng.integers(-3, 4, (max_detections // 2, 4))
        boxes = np.concatenate([near, _random_boxes(rng, max_detections // 2)])
        scores = rng.integers(1, 30, len(boxes)) / 32
        pairs = zip(scores.tolist(), boxes.tolist(), strict=True)
        detections.append(detected(*pairs, name=f"{number}.jpg"))
    return labels, detections


def _random_boxes(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    low, size = rng.integers(0, 60, (count, 2)), rng.integers(4, 40, (count, 2))
    return np.concatenate([low, low + size], axis=1).astype(np.float64)


def wider_dev_labels(shared: Path) -> tuple[list[ImageLabels], dict[str, BoolArray]]:
    """The official ground truth of the shared images and its three subsets, read on its own."""
    folder = shared / "data/wider_dev/ground_truth"
    truth: dict[str, Any] = scipy.io.loadmat(str(folder / "wider_face_val.mat"))
    lists = {name: scipy.io.loadmat(str(folder / f"wider_{name}_val.mat"))["gt_list"] for name in SUBSETS}
    labels: list[ImageLabels] = []
    subsets: dict[str, list[BoolArray]] = {name: [] for name in SUBSETS}
    for event, (event_name,) in enumerate(truth["event_list"]):
        for number, (file_name,) in enumerate(truth["file_list"][event, 0]):
            boxes = truth["face_bbx_list"][event, 0][number, 0].astype(np.float64)
            boxes[:, 2:] += boxes[:, :2]
            labels.append(ImageLabels(f"{event_name[0]}/{file_name[0]}.jpg", FaceLabels.from_boxes(boxes)))
            for name in SUBSETS:
                mask = np.zeros(len(boxes), np.bool_)
                mask[lists[name][event, 0][number, 0].ravel().astype(np.intp) - 1] = True
                subsets[name].append(mask)
    return labels, {name: np.concatenate(masks) for name, masks in subsets.items()}


SUBSETS = ("easy", "medium", "hard")


def recorded_detections(shared: Path, *, whole_numbers: bool = False) -> list[ImageDetections]:
    """The recorded detections; `whole_numbers` cuts the corners as the old scripts write them."""
    detections = []
    with np.load(shared / "reference/wider_dev_detections.npz") as recorded:
        for key in recorded.files:
            table = recorded[key]
            boxes = np.trunc(table[:, :4]) if whole_numbers else table[:, :4]
            faces = FaceDetections(boxes, table[:, 5:].reshape(-1, 5, 2), table[:, 4])
            detections.append(ImageDetections(key.replace("|", "/"), faces))
    return detections
