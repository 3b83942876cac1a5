"""Batches: what the data layer hands to the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.faces import FaceLabels, RgbImage

_FACE_ARRAYS = ("boxes", "landmarks", "has_landmarks", "ignore")
"""What a batch holds of FaceLabels, under the same names."""


class TrainingSample(NamedTuple):
    """One augmented image: image (S, S, 3) uint8 RGB, and faces in its pixels."""

    image: RgbImage
    faces: FaceLabels
    file_name: str


class ValidationSample(NamedTuple):
    """One image at validation scale: image (H, W, 3) uint8 RGB; faces in original pixels."""

    image: RgbImage
    resizer: Resizer
    faces: FaceLabels
    file_name: str
    number: int


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """A training step's images, and the N faces of all of them one after another, ignored ones too.

    Attributes:
        images: (B, 3, S, S) uint8 RGB in channels-last memory, not normalised.
        file_names: of the B images, as in the label files.
        boxes: (N, 4) float32 in pixels of the network input.
        landmarks: (N, 5, 2) float32 likewise; NaN where missing.
        has_landmarks: (N, 5) whether each point is known.
        ignore: (N,) faces that are neither positive nor background.
        image_index: (N,) int64 position in the batch of the image that each face belongs to.
    """

    images: Tensor
    file_names: tuple[str, ...]
    boxes: Tensor
    landmarks: Tensor
    has_landmarks: Tensor
    ignore: Tensor
    image_index: Tensor

    def __len__(self) -> int:
        return len(self.file_names)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> TrainingBatch:
        """The batch on another device; Lightning calls it."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TrainingBatch:
        """The batch in page-locked memory, from where it goes to a GPU without waiting; the loader calls it."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> TrainingBatch:
        changed = {name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class ValidationBatch:
    """Validation images that have one size in the network, and what is needed to measure on them.

    Attributes:
        images: (H, W, 3) uint8 RGB each, without padding; they stay on the CPU.
        resizers: of the images; `resizer.restore` brings detections to original pixels.
        faces: true faces of the images, in original pixels.
        file_names: of the images, as in the label files.
        indices: of the images among all validation images.
    """

    images: tuple[Tensor, ...]
    resizers: tuple[Resizer, ...]
    faces: tuple[FaceLabels, ...]
    file_names: tuple[str, ...]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.file_names)

    def to(self, *_: object, **__: object) -> ValidationBatch:
        """The batch itself, for Lightning: the network takes the images from the CPU."""
        return self


def collate_training(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Makes one batch of samples of one size."""
    faces = [sample.faces for sample in samples]
    stacked: Tensor = default_collate([torch.from_numpy(np.ascontiguousarray(sample.image)) for sample in samples])
    joined = {
        name: torch.from_numpy(np.concatenate([getattr(labels, name) for labels in faces])) for name in _FACE_ARRAYS
    }
    return TrainingBatch(
        images=stacked.permute(0, 3, 1, 2),  # (B, 3, S, S), channels last in memory
        file_names=tuple(sample.file_name for sample in samples),
        image_index=torch.arange(len(samples)).repeat_interleave(torch.tensor([len(labels) for labels in faces])),
        **joined,
    )


def collate_validation(samples: Sequence[ValidationSample]) -> ValidationBatch:
    """Makes one batch of samples; tensors go from worker to process through shared memory, arrays do not."""
    return ValidationBatch(
        images=tuple(torch.from_numpy(np.ascontiguousarray(sample.image)) for sample in samples),
        resizers=tuple(sample.resizer for sample in samples),
        faces=tuple(sample.faces for sample in samples),
        file_names=tuple(sample.file_name for sample in samples),
        indices=tuple(sample.number for sample in samples),
    )


def batch_to_images_and_labels(batch: TrainingBatch) -> list[tuple[RgbImage, FaceLabels]]:
    """The images (S, S, 3) of a batch with the faces in their pixels, to be drawn."""
    images = batch.images.permute(0, 2, 3, 1).cpu().numpy()  # (B, S, S, 3)
    faces = FaceLabels(**{name: getattr(batch, name).cpu().numpy() for name in _FACE_ARRAYS})
    counts = np.bincount(batch.image_index.cpu().numpy(), minlength=len(batch)).tolist()
    return list(zip(map(np.ascontiguousarray, images), faces.split(counts), strict=True))
