"""The detector under Lightning's predict loop: one process a device, each image in exactly one of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytorch_lightning as pl

from retinaface_cli.data.pixel_budget import MAX_PIXELS_AT_ONCE
from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.reading import (
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
from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.detection.results import RESULTS
from retinaface_cli.detection.tally import PredictionTally
from retinaface_cli.errors import RetinaFaceError, shown
from retinaface_cli.faces import FaceDetections
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.files.shared_work import SharedWork, new_token
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.process import num_cores
from retinaface_cli.settings.detection import InferSettings

_GPU_BATCH_SIZE = 8
_MAX_READERS = 8

_MAX_PART_SIZE = 256
_MAX_WAIT_WHEN_STOPPED = 10.0
"""Seconds that a process waits for the others when the user has stopped it."""

_PARTS_A_PROCESS = 4
"""Parts in which several processes take their work, so that all of them end at about the same time."""


class LostProcessError(RetinaFaceError):
    """Another process of the run crashed or was killed."""

    def __init__(self, output: Path, reason: str = "") -> None:
        what = "another process of the run ended before its work was done"
        super().__init__(f"{what}{f' ({reason})' if reason else ''}; go on with --output {shown(output)} --resume")


class ImageStream:
    """The batches of one process, read ahead, until the run is to stop."""

    def __init__(
        self,
        items: Callable[[], Iterator[SourceItem | PartMark]],
        settings: InferSettings,
        *,
        batch_size: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self._items = items
        self._settings = settings
        self._batch_size = batch_size
        self._should_stop = should_stop

    def __iter__(self) -> Iterator[list[Loaded]]:
        settings = self._settings
        num_workers = settings.num_workers
        images = read_images(
            self._items(),
            TestScale.of(settings),
            num_workers=min(num_cores(), _MAX_READERS) if num_workers is None else num_workers,
            keep_original=settings.needs_originals,
        )
        return batch_by_size(self._until_stopped(images), self._batch_size)

    def _until_stopped(self, images: Iterator[Loaded]) -> Iterator[Loaded]:
        for image in images:
            if self._should_stop():
                return
            yield image


class PredictionModule(pl.LightningModule):
    """Detects, writes, and counts.

    Attributes:
        settings: of the run.
        work: all that is to be done.
        tally: of this process; of all at the end.
        stop_requested: ends the run after the images in flight.
        is_other_gone: whether a process that this one has started, or was started by, has ended by a crash.
    """

    def __init__(
        self,
        settings: InferSettings,
        weights: LoadedWeights | NetworkFile,
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
        self.is_other_gone: Callable[[], bool] = lambda: False
        self._weights = weights
        self._open_output = open_output
        self._shared = SharedWork(Path(), "", rank=0, world_size=1)
        self._protect = protect
        self._in_flight: deque[tuple[list[Loaded], Future[list[FaceDetections]]]] = deque()

    def setup(self, stage: str) -> None:
        """Builds the detector on this process's device, and then agrees on the output folder.

        The order leaves no folder behind where the network cannot be run.
        """
        device = self.trainer.strategy.root_device
        if device.type == "cpu":
            keep_freed_memory()
        self.detector = FaceDetector(self._weights, self.settings, device=device, in_parallel=True)
        self._threads = CallThreads(self.detector.num_parallel)
        root = token = ""
        if self.global_rank == 0:
            output = self._open_output()
            root, token = str(output.root), new_token()
        try:
            root, token = self.trainer.strategy.broadcast((root, token))
        except RuntimeError:
            raise RetinaFaceError("the first process of the run could not begin; see its message") from None
        if self.global_rank != 0:
            output = OutputFolder.join(Path(root), rank=self.global_rank, protect=self._protect)
        self._shared = SharedWork(Path(root), token, rank=self.global_rank, world_size=self.trainer.world_size)
        self.results = RESULTS[self.settings.save](output, self.settings)

    def on_predict_start(self) -> None:
        """Starts the clock, and tells the other processes from now on how far this one is."""
        self._started = time.monotonic()
        self._shared.start(lambda: self.tally.as_json(with_failures=False))

    def predict_dataloader(self) -> ImageStream:
        """This process's share of what is not done yet."""
        default_size = 1 if self.detector.device.type == "cpu" else _GPU_BATCH_SIZE
        batch_size = self.settings.batch_size or default_size
        return ImageStream(self._items, self.settings, batch_size=batch_size, should_stop=self._should_stop)

    def _items(self) -> Iterator[SourceItem | PartMark]:
        """The images that have no results yet of the parts that this process takes; where each part begins and ends."""
        for part in self.work.parts(self._part_size()):
            if not self._shared.claim(part.number):
                continue
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
            if self.results.write(image, faces):
                self.tally.num_images += 1
                self.tally.num_faces += len(faces)
        for loaded in batch:
            if isinstance(loaded, UnreadableImage):
                self.results.write_failure(loaded)
                self.tally.add_failure(loaded, max_listed=self.results.max_listed_failures)
            elif isinstance(loaded, PartMark):
                (self.results.end_part if loaded.is_end else self.results.begin_part)(loaded.part)
        self._count_refused()

    def _count_refused(self) -> None:
        for failure in self.results.take_refused():
            self.tally.add_failure(failure, max_listed=self.results.max_listed_failures)

    def on_predict_end(self) -> None:
        """Writes what is still under way, waits for the other processes, and adds up all tallies.

        Raises:
            LostProcessError: another process is lost or has failed.
        """
        while self._in_flight:
            self._write_next()
        self._threads.shutdown()
        is_stopped = self._should_stop()
        self.results.close(complete=not is_stopped)
        self._count_refused()
        if self.global_rank != 0:
            self.results.folder.close()  # the first process reads what was written
        self.tally.interrupted = self.stop_requested.is_set()
        self._shared.end("stopped" if self.tally.interrupted else "ended", self.tally.as_json())
        last_moment = time.monotonic() + _MAX_WAIT_WHEN_STOPPED
        self._shared.wait_for_others(
            is_over=lambda: self.is_other_gone() or (self._should_stop() and time.monotonic() > last_moment)
        )
        self.seconds = time.monotonic() - self._started
        if self.stop_requested.is_set():
            reason = self._shared.explain_silence(0)  # the first process says how to go on, unless it is lost
        else:
            reason = self._shared.problem or ("it was killed or crashed" if self.is_other_gone() else "")
        if reason:
            raise LostProcessError(self.results.folder.root, reason)
        self.tally = self.total()
        if self.global_rank == 0 and not is_stopped:
            self._shared.clear_claims()
        self._shared.close()

    def end_with(self, error: BaseException) -> None:
        """Tells the other processes that this one has failed."""
        self._shared.end("failed", self.tally.as_json(), message=str(error) or type(error).__name__)
        self._shared.close()

    def total(self, *, with_failures: bool = True) -> PredictionTally:
        """What all processes have done so far, as they have said last; its failures are listed, or only counted."""
        others = map(PredictionTally.from_json, filter(None, self._shared.others()))
        return PredictionTally.add_up([self.tally, *others], with_failures=with_failures)

    def _should_stop(self) -> bool:
        """Whether the user has stopped this or another process, or the run cannot come to its end."""
        if self._shared.is_stopped:
            self.stop_requested.set()
        return self.stop_requested.is_set() or bool(self._shared.problem)

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
