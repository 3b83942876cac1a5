from __future__ import annotations

import numpy as np
import torch
from pytorch_lightning.utilities import move_data_to_device

from retinaface_cli.data.batches import (
    TrainingBatch,
    TrainingSample,
    ValidationBatch,
    ValidationSample,
    batch_to_images_and_labels,
    collate_training,
    collate_validation,
)
from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.faces import FaceLabels
from tests.data.painted import face_labels, paint

TWO = face_labels((2, 3, 20, 30), (30, 30, 60, 60))


def samples() -> list[TrainingSample]:
    one = FaceLabels.from_boxes([[1, 2, 3, 4]])
    marked = FaceLabels(one.boxes, one.landmarks, one.has_landmarks, np.array([True]))
    return [
        TrainingSample(paint((64, 64), TWO), TWO, "two.jpg"),
        TrainingSample(np.full((64, 64, 3), 50, np.uint8), marked, "one.jpg"),
        TrainingSample(np.zeros((64, 64, 3), np.uint8), FaceLabels.empty(), "none.jpg"),
    ]


def test_a_batch_holds_the_faces_of_all_images_one_after_another() -> None:
    batch = collate_training(samples())
    assert batch.image_index.tolist() == [0, 0, 1]
    assert batch.ignore.tolist() == [False, False, True]
    assert batch.boxes.tolist() == [[2, 3, 20, 30], [30, 30, 60, 60], [1, 2, 3, 4]]
    assert batch.has_landmarks.sum(dim=1).tolist() == [5, 5, 0]
    assert torch.isnan(batch.landmarks[2]).all() and not torch.isnan(batch.landmarks[:2]).any()
    assert batch.file_names == ("two.jpg", "one.jpg", "none.jpg") and len(batch) == 3


def test_a_batch_may_have_no_face() -> None:
    batch = collate_training(samples()[2:])
    assert batch.boxes.shape == (0, 4) and batch.landmarks.shape == (0, 5, 2) and batch.image_index.shape == (0,)


def test_images_are_bytes_with_channels_last_in_memory() -> None:
    batch = collate_training(samples())
    assert batch.images.dtype == torch.uint8 and batch.images.shape == (3, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_images_and_faces_come_out_of_a_batch_as_they_went_in() -> None:
    restored = batch_to_images_and_labels(collate_training(samples()))
    for (image, faces), sample in zip(restored, samples(), strict=True):
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(faces.boxes, sample.faces.boxes)
        np.testing.assert_array_equal(faces.landmarks, sample.faces.landmarks)
        np.testing.assert_array_equal(faces.ignore, sample.faces.ignore)


def test_lightning_moves_the_tensors_of_a_batch_and_keeps_the_rest() -> None:
    moved = move_data_to_device(collate_training(samples()), torch.device("meta"))
    assert isinstance(moved, TrainingBatch)
    assert moved.images.device.type == moved.image_index.device.type == "meta"
    assert moved.file_names == ("two.jpg", "one.jpg", "none.jpg")


def test_a_validation_batch_keeps_what_is_needed_to_map_back() -> None:
    resizer = Resizer((128, 96), (64, 48))
    sample = ValidationSample(np.full((64, 64, 3), 7, np.uint8), resizer, TWO, "two.jpg", 5)
    batch = move_data_to_device(collate_validation([sample, sample._replace(number=6)]), torch.device("cpu"))
    assert isinstance(batch, ValidationBatch)
    assert [image.shape for image in batch.images] == [(64, 64, 3)] * 2 and batch.indices == (5, 6) and len(batch) == 2
    assert batch.resizers == (resizer, resizer) and batch.faces[0] is TWO
