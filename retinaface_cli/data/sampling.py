"""Which image comes when: the same order for any number of processes and workers, and after a restart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Sampler

from retinaface_cli.data.batches import TrainingBatch


class SampleKey(NamedTuple):
    """One image at one place of one epoch; all randomness of its augmentation follows from it."""

    epoch: int
    position: int
    image: int


@dataclass(frozen=True)
class Share:
    """The part of the work that falls to one of several processes.

    Attributes:
        rank: number of the process, from 0.
        world_size: number of processes.
    """

    rank: int = 0
    world_size: int = 1


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of an epoch: all images in random order, each source as often as its weight says.

    The last batch is filled up with images that come a second time, so that no image is left out and all batches
    have the same size.
    """

    def __init__(
        self,
        num_images: Sequence[int],
        *,
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        share: Share = Share(),
    ) -> None:
        """Makes the sampler of one process.

        Args:
            num_images: of each source; indices count through all of them.
            weights: how often an epoch shows the images of each source.
            batch_size: images a step of this process.
            seed: of the order.
            share: this process's part; together the processes have the batches of a single one with their whole size.
        """
        self.epoch = 0
        self.first_batch = 0
        self._num_images = tuple(num_images)
        self._weights = tuple(weights)
        self._batch_size = batch_size
        self._seed = seed
        self._share = share
        num_samples = sum(
            n * int(weight) + round(n * (weight % 1)) for n, weight in zip(num_images, weights, strict=True)
        )
        self._num_batches = max(1, -(-num_samples // (batch_size * share.world_size)))

    @property
    def sampler(self) -> EpochBatches:
        """Itself: of a batch sampler, Lightning looks for `sampler.set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order comes next; Lightning calls it before each."""
        self.epoch = epoch

    def order(self) -> npt.NDArray[np.int64]:
        """(num_batches * whole batch size,) indices of the images of this epoch, for all processes."""
        rng = np.random.default_rng((self._seed, self.epoch))
        parts: list[npt.NDArray[np.int64]] = []
        start = 0
        for n, weight in zip(self._num_images, self._weights, strict=True):
            indices = np.arange(start, start + n)
            parts += [indices] * int(weight)
            parts.append(rng.permutation(indices)[: round(n * (weight % 1))])
            start += n
        order = rng.permutation(np.concatenate(parts))
        wanted = self._num_batches * self._batch_size * self._share.world_size
        filling = rng.permutation(order)
        num_missing = wanted - len(order)
        return np.concatenate([order, np.resize(filling, num_missing)])

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order = self.order()
        for batch in range(self.first_batch, self._num_batches):
            start = (batch * self._share.world_size + self._share.rank) * self._batch_size
            positions = range(start, start + self._batch_size)
            yield [SampleKey(self.epoch, position, int(order[position])) for position in positions]


class ResumableLoader(DataLoader[TrainingBatch]):
    """A loader that goes on in the middle of an epoch; Lightning stores its state in checkpoints.

    Its batch sampler must be EpochBatches.
    """

    batch_sampler: EpochBatches

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._epoch = 0
        self._num_done = 0
        self._resume_at: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[TrainingBatch]:  # type: ignore[override]
        # A generator does nothing before its first batch is asked for: Lightning makes the iterator before it sets the
        # epoch, and workers would have fetched the wrong images by then.
        self._epoch = self.batch_sampler.epoch
        resume_at, self._resume_at = self._resume_at, None
        first = resume_at[1] if resume_at is not None and resume_at[0] == self._epoch else 0
        self.batch_sampler.first_batch = self._num_done = first
        for batch in super().__iter__():
            self._num_done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, and number of its batches that were handed out."""
        return {"epoch": self._epoch, "num_batches": self._num_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on where the state was taken, if it is of the same epoch."""
        self._resume_at = (state["epoch"], state["num_batches"])


class SameSizeBatches(Sampler[list[int]]):
    """Batches of images that have the same size in the network, each image once over all processes.

    What an image is padded to does not depend on its neighbours, so that results do not depend on the number of
    processes. All processes have the same number of batches, as far as there are enough images; where not, some
    images come twice.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], *, batch_size: int, share: Share = Share()) -> None:
        """Makes the sampler of one process.

        Args:
            sizes: (height, width) of each image in the network, padding included.
            batch_size: largest number of images a batch.
            share: this process's part.
        """
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, size in enumerate(sizes):
            groups[size].append(index)
        batches = [
            indices[start : start + batch_size]
            for indices in groups.values()
            for start in range(0, len(indices), batch_size)
        ]
        self._batches = _make_divisible(batches, share.world_size)[share.rank :: share.world_size]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


def _make_divisible(batches: list[list[int]], divisor: int) -> list[list[int]]:
    """Halves the largest batches until their number is a multiple of the divisor; repeats some if all hold one."""
    result = list(batches)
    while result and len(result) % divisor:
        largest = max(range(len(result)), key=lambda position: len(result[position]))
        batch = result[largest]
        if len(batch) == 1:
            return result + [result[i % len(result)] for i in range(-len(result) % divisor)]
        half = len(batch) // 2
        result[largest : largest + 1] = [batch[:half], batch[half:]]
    return result
