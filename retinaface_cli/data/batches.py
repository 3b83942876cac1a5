"""Batches: what the data layer hands to the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from retinaface_cli.data.preprocessing import Resizer, RgbImage
from retinaface_cli.faces import NUM_LANDMARKS, FaceLabels


class TrainingSample(NamedTuple):
    """One augmented image: image (S, S, 3) uint8 RGB, and faces in its pixels."""

    image: RgbImage
    faces: FaceLabels
    file_name: str


class ValidationSample(NamedTuple):
    """One image at validation scale: image (H, W, 3) uint8 RGB, padded right and bottom; faces in original pixels."""

    image: RgbImage
    resizer: Resizer
    faces: FaceLabels
    file_name: str
    number: int


class _Movable:
    """Moves all tensors of a dataclass; Lightning and the loader call these."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> _Movable:
        """The batch on another device."""
        tensors = _tensors(self)
        return _replace(self, {k: v.to(device, non_blocking=non_blocking) for k, v in tensors.items()})

    def pin_memory(self) -> _Movable:
        """The batch in page-locked memory, from where it goes to a GPU without waiting."""
        return _replace(self, {k: v.pin_memory() for k, v in _tensors(self).items()})


@dataclass(frozen=True, eq=False)
class TrainingBatch(_Movable):
    """A training step's images and faces, padded to the largest number of faces N (at least 1).

    Attributes:
        images: (B, 3, S, S) uint8 RGB in channels-last memory, not normalised.
        boxes: (B, N, 4) float32 in pixels of the network input; zeros where padded.
        landmarks: (B, N, 5, 2) float32 likewise; NaN where missing.
        has_landmarks: (B, N, 5) whether each point is known.
        ignore: (B, N) faces that are neither positive nor background.
        is_face: (B, N) False where padded; ignored faces are faces, too.
        file_names: of the B images, as in the label files.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    has_landmarks: Tensor
    ignore: Tensor
    is_face: Tensor
    file_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.file_names)


@dataclass(frozen=True, eq=False)
class ValidationBatch(_Movable):
    """Validation images of one padded size, and what is needed to measure on them.

    Attributes:
        images: (B, 3, H, W) uint8 RGB in channels-last memory, padded at the right and the bottom, not normalised.
        resizers: of the B images; `resizer.restore` brings detections to original pixels.
        faces: true faces of the B images, in original pixels.
        file_names: of the B images, as in the label files.
        indices: of the B images among all validation images.
    """

    images: Tensor
    resizers: tuple[Resizer, ...]
    faces: tuple[FaceLabels, ...]
    file_names: tuple[str, ...]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.file_names)


def collate_training(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Makes one batch of samples of one size."""
    num_faces = max(1, *(len(sample.faces) for sample in samples))
    shape = (len(samples), num_faces)
    boxes = np.zeros((*shape, 4), np.float32)
    landmarks = np.full((*shape, NUM_LANDMARKS, 2), np.nan, np.float32)
    has_landmarks = np.zeros((*shape, NUM_LANDMARKS), np.bool_)
    ignore, is_face = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    for row, (_, faces, _) in enumerate(samples):
        n = len(faces)
        boxes[row, :n], landmarks[row, :n] = faces.boxes, faces.landmarks
        has_landmarks[row, :n], ignore[row, :n], is_face[row, :n] = faces.has_landmarks, faces.ignore, True
    return TrainingBatch(
        images=_stack_images([sample.image for sample in samples]),
        boxes=torch.from_numpy(boxes),
        landmarks=torch.from_numpy(landmarks),
        has_landmarks=torch.from_numpy(has_landmarks),
        ignore=torch.from_numpy(ignore),
        is_face=torch.from_numpy(is_face),
        file_names=tuple(sample.file_name for sample in samples),
    )


def collate_validation(samples: Sequence[ValidationSample]) -> ValidationBatch:
    """Makes one batch of samples of one padded size."""
    return ValidationBatch(
        images=_stack_images([sample.image for sample in samples]),
        resizers=tuple(sample.resizer for sample in samples),
        faces=tuple(sample.faces for sample in samples),
        file_names=tuple(sample.file_name for sample in samples),
        indices=tuple(sample.number for sample in samples),
    )


def batch_to_images_and_labels(batch: TrainingBatch) -> list[tuple[RgbImage, FaceLabels]]:
    """The images (S, S, 3) of a batch with the faces in their pixels, to be drawn."""
    images = batch.images.permute(0, 2, 3, 1).cpu().numpy()  # (B, S, S, 3)
    labels = []
    for row, image in enumerate(images):
        is_face = batch.is_face[row].cpu().numpy()
        faces = FaceLabels(
            boxes=batch.boxes[row].cpu().numpy()[is_face],
            landmarks=batch.landmarks[row].cpu().numpy()[is_face],
            has_landmarks=batch.has_landmarks[row].cpu().numpy()[is_face],
            ignore=batch.ignore[row].cpu().numpy()[is_face],
        )
        labels.append((np.ascontiguousarray(image), faces))
    return labels


def _stack_images(images: Sequence[RgbImage]) -> Tensor:
    """(B, 3, H, W) of images (H, W, 3); in shared memory where a worker makes it."""
    stacked: Tensor = default_collate([torch.from_numpy(np.ascontiguousarray(image)) for image in images])
    return stacked.permute(0, 3, 1, 2)  # (B, 3, H, W), channels last in memory


def _tensors(batch: object) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}


def _replace(batch: _Movable, tensors: dict[str, Tensor]) -> _Movable:
    return dataclasses.replace(batch, **tensors)  # type: ignore[type-var]
