from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from retinaface_cli.data.batches import TrainingBatch, ValidationBatch
from retinaface_cli.data.datamodule import FaceDataModule, count_workers
from retinaface_cli.data.images import load_training_data
from retinaface_cli.settings.data import AUGMENTATIONS, DataSettings, LabelSource
from tests.data.conftest import IMAGES
from tests.data.painted import nearest_point, painted_box


def module_of(labels: Path, *, num_workers: int = 0, scale: int | str = 128, held_out: bool = False) -> FaceDataModule:
    source = LabelSource(labels=labels)
    settings = DataSettings.model_validate(
        {
            "train": (source,),
            "validation": () if held_out else (source,),
            "held_out": 0,
            "image_size": 96,
            "batch_size": 2,
            "validation_scale": scale,
            "validation_batch_size": 2,
            "num_workers": num_workers,
        }
    )
    return FaceDataModule(load_training_data(settings), settings, augmentation=AUGMENTATIONS["modern"], seed=3)


def training_batches(module: FaceDataModule, *, epoch: int = 0) -> list[TrainingBatch]:
    loader = module.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return list(loader)


def validation_batches(module: FaceDataModule) -> Sequence[ValidationBatch]:
    loader = module.val_dataloader()
    assert not isinstance(loader, list)
    return list(loader)


def test_training_batches_show_every_image_with_its_faces(labels: Path) -> None:
    batches = training_batches(module_of(labels))
    assert sorted(chain(*(batch.file_names for batch in batches))) == sorted(IMAGES)
    for batch in batches:
        assert batch.images.shape == (2, 3, 96, 96)
        boxes = batch.boxes
        assert (boxes >= 0).all() and (boxes <= 96).all() and (boxes[:, 2:] > boxes[:, :2]).all()


def test_batches_do_not_depend_on_the_number_of_workers(labels: Path) -> None:
    alone, helped = training_batches(module_of(labels)), training_batches(module_of(labels, num_workers=2))
    for first, second in zip(alone, helped, strict=True):
        assert first.file_names == second.file_names
        for name in ("images", "boxes", "landmarks", "has_landmarks", "ignore", "image_index"):
            torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=0, atol=0, equal_nan=True)
    assert helped[0].images.is_contiguous(memory_format=torch.channels_last)


def test_another_epoch_shows_the_images_differently(labels: Path) -> None:
    module = module_of(labels)
    first, second = training_batches(module), training_batches(module, epoch=1)
    assert not torch.equal(first[0].images, second[0].images)


def test_validation_shows_whole_images_once_and_always_the_same(labels: Path) -> None:
    first, second = validation_batches(module_of(labels)), validation_batches(module_of(labels, num_workers=1))
    assert sorted(chain(*(batch.indices for batch in first))) == [0, 1, 2, 3]
    for one, other in zip(first, second, strict=True):
        assert one.file_names == other.file_names
        assert all(torch.equal(a, b) for a, b in zip(one.images, other.images, strict=True))


@pytest.mark.parametrize("scale", [128, "original"])
def test_validation_images_have_the_networks_size_and_map_back(labels: Path, scale: int | str) -> None:
    seen = 0
    for batch in validation_batches(module_of(labels, scale=scale)):
        for one_image, resizer, faces in zip(batch.images, batch.resizers, batch.faces, strict=True):
            image = one_image.numpy()
            height, width = resizer.network_size
            assert image.shape == (height, width, 3)
            assert max(height, width) == (128 if scale == 128 else max(resizer.original_size))
            for point, (x, y) in enumerate(chain(*resizer.to_network(faces.landmarks))):
                assert nearest_point(image[int(y), int(x)]) == point % 5
                seen += 1
            if len(faces) == 1:
                corners = resizer.to_network(faces.boxes.reshape(2, 2)).reshape(4)
                np.testing.assert_allclose(painted_box(image), corners, atol=1.5)
    assert seen == 20


def test_without_validation_images_there_is_no_loader(labels: Path) -> None:
    assert module_of(labels, held_out=True).val_dataloader() == []


def test_workers_are_as_told_or_a_part_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count_workers(3) == 3 and count_workers(0) == 0
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert [count_workers(None, num_processes=n) for n in (1, 2, 4, 12)] == [8, 6, 3, 0]


@pytest.mark.shared
def test_samples_of_real_images_are_well_formed(shared: Path) -> None:
    folder = shared / "data/wider_train_small"
    source = LabelSource(labels=folder / "label.txt", images=folder / "images")
    settings = DataSettings(train=(source,), held_out=0, image_size=320, batch_size=40, num_workers=0)
    data = load_training_data(settings)
    assert len(data.train[0].images) == 649
    module = FaceDataModule(data, settings, augmentation=AUGMENTATIONS["classic"], seed=0)
    batch = next(iter(module.train_dataloader()))
    num_faces = torch.bincount(batch.image_index[~batch.ignore], minlength=len(batch))
    assert (num_faces >= 1).float().mean() > 0.97  # a crop shows a whole face, but for rare images
    known = batch.landmarks[batch.has_landmarks]
    assert known.isfinite().all() and (known >= 0).all() and (known <= 320).all()
