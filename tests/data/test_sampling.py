from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from retinaface_cli.data.sampling import EpochBatches, ResumableLoader, SameSizeBatches, SampleKey, Share


def images_of(sampler: EpochBatches) -> list[list[int]]:
    return [[key.image for key in batch] for batch in sampler]


def test_an_epoch_shows_every_image_and_fills_the_last_batch() -> None:
    batches = images_of(EpochBatches([10], weights=[1.0], batch_size=4, seed=0))
    assert [len(batch) for batch in batches] == [4, 4, 4]
    counts = Counter(chain(*batches))
    assert set(counts) == set(range(10)) and max(counts.values()) == 2


def test_fewer_images_than_a_batch_fill_one() -> None:
    batches = images_of(EpochBatches([3], weights=[1.0], batch_size=8, seed=0))
    assert len(batches) == 1 and len(batches[0]) == 8 and set(batches[0]) == {0, 1, 2}


def test_weights_say_how_often_images_of_a_source_are_shown() -> None:
    sampler = EpochBatches([6, 10, 4], weights=[2.0, 0.5, 1.25], batch_size=11, seed=0)
    counts = Counter(chain(*images_of(sampler)))  # 12 + 5 + 5 = 22: nothing is filled up
    assert [counts[index] for index in range(6)] == [2] * 6
    assert sum(counts[index] for index in range(6, 16)) == 5
    assert sorted(counts[index] for index in range(16, 20)) == [1, 1, 1, 2]


def test_a_part_of_a_source_is_drawn_anew_in_each_epoch() -> None:
    sampler = EpochBatches([40], weights=[0.5], batch_size=20, seed=0)
    first = set(chain(*images_of(sampler)))
    sampler.set_epoch(1)
    second = set(chain(*images_of(sampler)))
    assert len(first) == len(second) == 20 and first != second


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = EpochBatches([50], weights=[1.0], batch_size=10, seed=seed)
        sampler.set_epoch(epoch)
        return images_of(sampler)

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4) and order(0, 3) != order(1, 3)


@pytest.mark.parametrize("world_size", [2, 3])
def test_several_processes_share_the_batches_of_one(world_size: int) -> None:
    single = EpochBatches([50], weights=[1.0], batch_size=4 * world_size, seed=0)
    shares = [
        EpochBatches([50], weights=[1.0], batch_size=4, seed=0, share=Share(rank, world_size))
        for rank in range(world_size)
    ]
    assert [len(share) for share in shares] == [len(single)] * world_size
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == list(single)


SIZES = [(64, 96)] * 7 + [(96, 64)] * 3 + [(32, 32)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_validation_shows_each_image_once_over_all_processes(world_size: int) -> None:
    shares = [list(SameSizeBatches(SIZES, batch_size=4, share=Share(rank, world_size))) for rank in range(world_size)]
    assert sorted(chain(*chain(*shares))) == list(range(11))
    assert len({len(share) for share in shares}) == 1
    for batch in chain(*shares):
        assert len(batch) <= 4 and len({SIZES[index] for index in batch}) == 1


def test_with_too_few_images_some_are_repeated_so_that_no_process_waits() -> None:
    shares = [list(SameSizeBatches([(32, 32)], batch_size=4, share=Share(rank, 3))) for rank in range(3)]
    assert shares == [[[0]], [[0]], [[0]]]


def test_without_validation_images_there_are_no_batches() -> None:
    assert list(SameSizeBatches([], batch_size=4)) == []


class Keys(Dataset[SampleKey]):
    def __getitem__(self, key: SampleKey) -> SampleKey:
        return key


class Recorder(pl.LightningModule):
    """Notes the images of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.steps: list[tuple[int, list[SampleKey]]] = []

    def training_step(self, batch: list[SampleKey], _: int) -> torch.Tensor:
        self.steps.append((self.current_epoch, batch))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def train_dataloader(self) -> Any:
        sampler = EpochBatches([10], weights=[1.0], batch_size=2, seed=1)
        return ResumableLoader(Keys(), batch_sampler=sampler, collate_fn=list, num_workers=0)


class SaveAt(pl.Callback):
    def __init__(self, epoch: int, step: int, path: Path) -> None:
        self.place, self.path = (epoch, step), path

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if (trainer.current_epoch, args[-1]) == self.place:
            trainer.save_checkpoint(self.path)


def fit(*callbacks: pl.Callback, resume: Path | None = None) -> list[tuple[int, list[SampleKey]]]:
    module = Recorder()
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, ckpt_path=resume)
    return module.steps


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("epoch", "step"), [(0, 1), (1, 0), (1, 4)])
def test_a_resumed_training_goes_on_with_the_next_images(tmp_path: Path, epoch: int, step: int) -> None:
    whole = fit()
    assert [number for number, _ in whole] == [0] * 5 + [1] * 5 + [2] * 5
    assert all(key.epoch == number for number, batch in whole for key in batch)
    fit(SaveAt(epoch, step, tmp_path / "a.ckpt"))
    assert fit(resume=tmp_path / "a.ckpt") == whole[5 * epoch + step + 1 :]
