"""The detector under Lightning's predict loop: one process a device, each image in exactly one of them."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pytorch_lightning as pl
import torch

from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.reading import (
    MAX_PIXELS_AT_ONCE,
    Image,
    Loaded,
    PartMark,
    UnreadableImage,
    batch_by_size,
    count_held,
    read_images,
)
from retinaface_cli.data.sources import MemberBytes, Source, SourceItem, Work
from retinaface_cli.detection.cpu import CallThreads, keep_freed_memory
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.results import RESULTS
from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.detection import InferSettings

_GPU_BATCH_SIZE = 8
_MAX_READERS = 8

_MAX_PART_SIZE = 256
_PARTS_A_PROCESS = 4
"""Parts in which several processes take their work, so that all of them end at about the same time."""


class LostProcessError(RetinaFaceError):
    """Another process of the run crashed or was killed."""

    def __init__(self) -> None:
        super().__init__("another process of the run ended before its work was done; go on with --output and --resume")


@dataclass
class PredictionTally:
    """What one process has done so far."""

    num_images: int = 0
    num_faces: int = 0
    num_done_before: int = 0
    num_failures: int = 0
    interrupted: bool = False
    failures: list[UnreadableImage] = field(default_factory=list)

    def add_failure(self, failure: UnreadableImage, *, max_listed: int | None) -> None:
        """Counts an image that could not be read, and keeps the first so many; None: all."""
        self.num_failures += 1
        if max_listed is None or len(self.failures) < max_listed:
            self.failures.append(failure)


class ImageStream:
    """The batches of one process, read ahead; the event ends it before the next image, from a signal handler say."""

    def __init__(
        self,
        items: Callable[[], Iterator[SourceItem | PartMark]],
        settings: InferSettings,
        *,
        batch_size: int,
        stop_requested: threading.Event,
    ) -> None:
        self._items = items
        self._settings = settings
        self._batch_size = batch_size
        self._stop_requested = stop_requested

    def __iter__(self) -> Iterator[list[Loaded]]:
        settings = self._settings
        num_workers = settings.num_workers
        images = read_images(
            self._items(),
            TestScale.of(settings),
            num_workers=min(os.cpu_count() or 1, _MAX_READERS) if num_workers is None else num_workers,
            keep_original=settings.needs_originals,
        )
        return batch_by_size(self._until_stopped(images), self._batch_size)

    def _until_stopped(self, images: Iterator[Loaded]) -> Iterator[Loaded]:
        for image in images:
            if self._stop_requested.is_set():
                return
            yield image


class PredictionModule(pl.LightningModule):
    """Detects, writes, and counts."""

    def __init__(
        self,
        settings: InferSettings,
        weights: LoadedWeights,
        work: Work,
        *,
        open_output: Callable[[], OutputFolder],
        protect: Sequence[Path],
    ) -> None:
        """Makes the module; the same in every process.

        Args:
            settings: of the run.
            weights: of the detector.
            work: all that is to be done.
            open_output: opens the output folder; called in the first process only.
            protect: inputs that are never written over.
        """
        super().__init__()
        self.settings = settings
        self.work = work
        self.tally = PredictionTally()
        self.stop_requested = threading.Event()
        self._weights = weights
        self._open_output = open_output
        self._protect = protect
        self._in_flight: deque[tuple[list[Loaded], Future[list[FaceDetections]]]] = deque()

    def setup(self, stage: str) -> None:
        """Agrees on the output folder, and builds the detector on this process's device."""
        root = ""
        if self.global_rank == 0:
            output = self._open_output()
            root = str(output.root)
        try:
            root = self.trainer.strategy.broadcast(root)
        except RuntimeError:
            raise RetinaFaceError("the first process of the run could not begin; see its message") from None
        if self.global_rank != 0:
            output = OutputFolder.join(Path(root), rank=self.global_rank, protect=self._protect)
        self.results = RESULTS[self.settings.save](output, self.settings)
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        device = self.trainer.strategy.root_device
        self.detector = FaceDetector(self._weights, self.settings, device=device, in_parallel=True)
        self._threads = CallThreads(self.detector.num_parallel)

    def on_predict_start(self) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def predict_dataloader(self) -> ImageStream:
        """This process's share of what is not done yet."""
        default_size = 1 if self.detector.device.type == "cpu" else _GPU_BATCH_SIZE
        batch_size = self.settings.batch_size or default_size
        return ImageStream(self._items, self.settings, batch_size=batch_size, stop_requested=self.stop_requested)

    def _items(self) -> Iterator[SourceItem | PartMark]:
        """The images of every n-th part that have no results yet, and where each part begins and ends."""
        for part in islice(self.work.parts(self._part_size()), self.global_rank, None, self.trainer.world_size):
            if self.results.has_part(part):
                self.tally.num_done_before += len(part.sources)
                continue
            yield PartMark(part, is_end=False)
            for item in part.items():
                source = item.source if isinstance(item, MemberBytes) else item
                if isinstance(source, Source) and self.results.has(source):
                    self.tally.num_done_before += 1
                else:
                    yield item
            yield PartMark(part, is_end=True)

    def _part_size(self) -> int:
        """Images and videos of a part; where no results depend on it, so few that all processes have some."""
        if self.settings.save == "parts":
            return self.settings.part_size
        num_images = self.work.num_images
        if self.trainer.world_size == 1 or num_images is None:
            return _MAX_PART_SIZE
        return max(1, min(_MAX_PART_SIZE, num_images // (_PARTS_A_PROCESS * self.trainer.world_size)))

    def predict_step(self, batch: list[Loaded], batch_idx: int) -> PredictionTally:
        """Begins with one batch, and writes the faces of those before it as far as they have been found.

        The network runs in threads of its own, one batch ahead of the writing.

        Returns:
            The tally of this process so far.
        """
        self._in_flight.append((batch, self._threads.submit(self._detect, _readable(batch))))
        while len(self._in_flight) > self.detector.num_parallel or self._holds_too_much():
            self._write_next()
        return self.tally

    def _holds_too_much(self) -> bool:
        """Whether several batches of large images are under way."""
        num_pixels = sum(count_held(image) for batch, _ in self._in_flight for image in batch)
        return len(self._in_flight) > 1 and num_pixels > MAX_PIXELS_AT_ONCE

    def _write_next(self) -> None:
        """Writes the faces of the batch that was begun first."""
        batch, found = self._in_flight.popleft()
        for image, faces in zip(_readable(batch), found.result(), strict=True):
            self.results.write(image, faces)
            self.tally.num_images += 1
            self.tally.num_faces += len(faces)
        for loaded in batch:
            if isinstance(loaded, UnreadableImage):
                self.results.write_failure(loaded)
                self.tally.add_failure(loaded, max_listed=self.results.max_listed_failures)
            elif isinstance(loaded, PartMark):
                (self.results.end_part if loaded.is_end else self.results.begin_part)(loaded.part)

    def on_predict_end(self) -> None:
        """Writes what is still under way, and adds up the tallies of all processes."""
        while self._in_flight:
            self._write_next()
        self._threads.shutdown()
        self.results.close(complete=not self.stop_requested.is_set())
        self.seconds = time.monotonic() - self._started
        self.tally.interrupted = self.stop_requested.is_set()
        self.tally = _sum_over_processes(self.tally)

    def transfer_batch_to_device(self, batch: list[Loaded], device: object, dataloader_idx: int) -> list[Loaded]:
        """Leaves the batch alone: the detector moves the images itself."""
        return batch

    def _detect(self, images: Sequence[Image]) -> list[FaceDetections]:
        return self.detector.detect_prepared(
            [image.resized for image in images],
            [image.resizer for image in images],
            [image.original for image in images],
        )


def _readable(batch: Sequence[Loaded]) -> list[Image]:
    return [loaded for loaded in batch if isinstance(loaded, Image)]


def _sum_over_processes(tally: PredictionTally) -> PredictionTally:
    """The tally of the whole run, in every process; returns when all of them have got here."""
    if not torch.distributed.is_initialized():
        return tally
    gathered: list[PredictionTally] = [PredictionTally()] * torch.distributed.get_world_size()
    try:
        torch.distributed.all_gather_object(gathered, tally)
    except RuntimeError:  # of the library that carries the messages: one of them is gone
        raise LostProcessError from None
    return PredictionTally(
        num_images=sum(one.num_images for one in gathered),
        num_faces=sum(one.num_faces for one in gathered),
        num_done_before=sum(one.num_done_before for one in gathered),
        num_failures=sum(one.num_failures for one in gathered),
        interrupted=any(one.interrupted for one in gathered),
        failures=[failure for one in gathered for failure in one.failures],
    )
