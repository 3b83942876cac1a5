"""The data side of a training run for Lightning: data sets, and loaders of every process, each with its share."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset

from retinaface_cli.data.augmentations import Augmentation
from retinaface_cli.data.batches import (
    TrainingSample,
    ValidationBatch,
    ValidationSample,
    collate_training,
    collate_validation,
)
from retinaface_cli.data.cropping import choose_window, cut_window
from retinaface_cli.data.images import Image, TrainingData
from retinaface_cli.data.preprocessing import TestScale, decode_at_scale
from retinaface_cli.data.sampling import EpochBatches, ResumableLoader, SameSizeBatches, SampleKey, Share
from retinaface_cli.faces import map_points
from retinaface_cli.geometry.anchors import padded_size
from retinaface_cli.process import num_cores
from retinaface_cli.settings.data import AugmentationSettings, DataSettings

_MAX_WORKERS = 8
"""Where the settings leave the number open; more seldom make a single device faster."""


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
        image, faces = self._augmentation(
            cut.image, map_points(one_image.faces, cut.to_network), content=cut.content, rng=rng
        )
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


class FaceDataModule(pl.LightningDataModule):
    """Loaders of training and validation batches.

    The samplers share the images out among the processes themselves: the Trainer must be made with
    `use_distributed_sampler=False`.
    """

    def __init__(
        self,
        data: TrainingData,
        settings: DataSettings,
        *,
        augmentation: AugmentationSettings,
        seed: int,
    ) -> None:
        """Makes the data module.

        Args:
            data: images and labels, as load_training_data checked them.
            settings: sizes of images and batches.
            augmentation: how training images are changed.
            seed: of the order and of the augmentation.

        Raises:
            SettingsError: an extra transform of the augmentation cannot be used.
        """
        super().__init__()
        self._data = data
        self._settings = settings
        self._seed = seed
        self._loader: ResumableLoader | None = None
        self._place: dict[str, int] | None = None
        scale = None if settings.validation_scale == "original" else settings.validation_scale
        self._train = TrainingDataset(
            [image for source in data.train for image in source.images],
            augmentation,
            image_size=settings.image_size,
            seed=seed,
        )
        self._validation = ValidationDataset(
            [image for source in data.validation for image in source.images],
            scale=TestScale(long_side=scale),
        )

    @property
    def example_image(self) -> Path:
        """The first image of the validation, or its shard; where there is none, of the training."""
        sources = [source for source in (*self._data.validation, *self._data.train) if source.images]
        return sources[0].images[0].source.path

    @property
    def validation_dataset(self) -> ValidationDataset:
        """The validation images; batches' indices refer to it."""
        return self._validation

    def train_dataloader(self) -> ResumableLoader:
        """Training batches of this process."""
        sampler = EpochBatches(
            [len(source.images) for source in self._data.train],
            weights=[source.weight for source in self._data.train],
            batch_size=self._settings.batch_size,
            seed=self._seed,
            share=self._share(),
        )
        workers = count_workers(self._settings.num_workers, num_processes=self._processes_here())
        self._loader = ResumableLoader(
            self._train,
            batch_sampler=sampler,
            collate_fn=collate_training,
            num_workers=workers,
            worker_init_fn=start_worker,
            persistent_workers=workers > 0,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )
        if self._place is not None:
            self._loader.load_state_dict(self._place)
        return self._loader

    def state_dict(self) -> dict[str, int]:
        """The place in the epoch, for a checkpoint."""
        return {} if self._loader is None else self._loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Takes over what state_dict gave.

        Lightning stores the loader's state, too, but restores it too late where the length of the training is asked
        for before (by a schedule).
        """
        self._place = state_dict

    def val_dataloader(self) -> DataLoader[ValidationBatch] | list[DataLoader[ValidationBatch]]:
        """Validation batches of this process; an empty list where there are no validation images."""
        if not len(self._validation):
            return []
        workers = count_workers(self._settings.num_workers, num_processes=self._processes_here())
        return DataLoader(
            self._validation,  # type: ignore[arg-type]  # the collate function turns samples into batches
            batch_sampler=SameSizeBatches(
                self._validation.padded_sizes,
                batch_size=self._settings.validation_batch_size,
                share=self._share(),
            ),
            collate_fn=collate_validation,
            num_workers=min(workers, 4),
            worker_init_fn=start_worker,
        )

    def _share(self) -> Share:
        if self.trainer is None:
            return Share()
        return Share(self.trainer.global_rank, self.trainer.world_size)

    def _processes_here(self) -> int:
        """Number of processes on this machine, which share its cores."""
        return 1 if self.trainer is None else max(1, self.trainer.num_devices)


def count_workers(num_workers: int | None, *, num_processes: int = 1) -> int:
    """Number of worker processes: as told, else this process's part of the cores, at most 8; none on a single core."""
    if num_workers is not None:
        return num_workers
    part = num_cores() // num_processes
    return 0 if part < 2 else min(part, _MAX_WORKERS)


def start_worker(_: int) -> None:
    """Keeps OpenCV in a worker to one thread: its thread pool does not survive a fork, and cores are shared anyway.

    Ctrl-C and SIGTERM, which reach all processes of a terminal or job, are left to the training process: it still needs
    its batch, and ends its workers when it is done.
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
