"""The images of a run as data sets: random views for training, whole images for validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from retinaface_cli.data.augmentations import Augmentation
from retinaface_cli.data.batches import TrainingSample, ValidationSample
from retinaface_cli.data.cropping import Cut, choose_window, cut_window
from retinaface_cli.data.images import Image
from retinaface_cli.data.preprocessing import TestScale, decode_at_scale
from retinaface_cli.data.sampling import SampleKey
from retinaface_cli.faces import FaceLabels
from retinaface_cli.geometry.anchors import padded_size
from retinaface_cli.settings.data import AugmentationSettings


class TrainingDataset(Dataset[TrainingSample]):
    """Cropped and augmented images; a key of epoch, position and image gives the same sample in any process."""

    def __init__(
        self, images: Sequence[Image], augmentation: AugmentationSettings, *, image_size: int, seed: int
    ) -> None:
        """Makes the data set.

        Args:
            images: to learn from.
            augmentation: how they are changed.
            image_size: side of the samples in pixels.
            seed: of all random numbers.

        Raises:
            SettingsError: an extra transform cannot be used.
        """
        self._images = images
        self._settings = augmentation
        self._image_size = image_size
        self._seed = seed
        self._augmentation = Augmentation(augmentation, image_size=image_size)
        self._fill = np.array(augmentation.fill, np.uint8)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, key: SampleKey) -> TrainingSample:
        """The sample of a key.

        Raises:
            ImageReadError: the image cannot be read.
        """
        one_image = self._images[key.image]
        rng = np.random.default_rng((self._seed, key.epoch, key.position))
        window = choose_window(
            rng, one_image.size, boxes=one_image.faces.boxes[~one_image.faces.ignore], crop=self._settings.crop
        )
        cut = cut_window(
            one_image.source, window, image_size=self._image_size, whole_size=one_image.size, fill=self._fill
        )
        image, faces = self._augmentation(cut.image, _move(one_image.faces, cut), content=cut.content, rng=rng)
        return TrainingSample(image, faces, one_image.file_name)


class ValidationDataset(Dataset[ValidationSample]):
    """Whole images at one scale."""

    def __init__(self, images: Sequence[Image], *, scale: TestScale) -> None:
        self._images = images
        self._scale = scale

    @property
    def padded_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image in the network, padding included."""
        return [padded_size(self._scale.target_size(image.size)) for image in self._images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> ValidationSample:
        """The image at an index.

        Raises:
            ImageReadError: the image cannot be read.
        """
        one_image = self._images[index]
        image, resizer, _ = decode_at_scale(one_image.source.read(), self._scale, name=one_image.source.place)
        return ValidationSample(image, resizer, one_image.faces, one_image.file_name, index)


def _move(faces: FaceLabels, cut: Cut) -> FaceLabels:
    """Faces of the image in pixels of the cut; they may reach past it."""
    boxes = cut.to_network(faces.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return replace(faces, boxes=boxes, landmarks=cut.to_network(faces.landmarks))
