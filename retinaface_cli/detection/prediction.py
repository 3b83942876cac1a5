"""The detector over all images of a run: one process a device, each image in exactly one of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import TypeVar

import torch

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

T = TypeVar("T")

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


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        device: that it runs the network on.
        rank: its number among all; 0 is the first, which opens the output folder and reports.
        world_size: how many there are, on all machines.
        broadcast: takes a value of each process, and gives all of them the first one's.
        children: processes that it has started.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    broadcast: Callable[[T], T] = lambda value: value
    children: Sequence[Popen[bytes]] = ()


class Prediction:
    """Detects, writes, and counts: begin, predict each of the batches, end.

    Attributes:
        settings: of the run.
        work: all that is to be done.
        tally: of this process; of all at the end.
        stop_requested: ends the run after the images in flight.
        process: that this is; set by begin.
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
        """Notes what is to be done; the same in every process.

        Args:
            settings: of the run.
            weights: of the detector.
            work: all that is to be done.
            open_output: opens the output folder; called in the first process only.
            protect: inputs that are never written over.
        """
        self.settings = settings
        self.work = work
        self.tally = PredictionTally()
        self.stop_requested = threading.Event()
        self._weights = weights
        self._open_output = open_output
        self._shared = SharedWork(Path(), "", rank=0, world_size=1)
        self._protect = protect
        self._threads: CallThreads | None = None
        self._in_flight: deque[tuple[list[Loaded], Future[list[FaceDetections]]]] = deque()

    def begin(self, process: Process) -> None:
        """Builds the detector on the process's device, and then agrees with the others on the output folder.

        The order leaves no folder behind where the network cannot be run.
        """
        self.process = process
        if process.device.type == "cpu":
            keep_freed_memory()
        self.detector = FaceDetector(self._weights, self.settings, device=process.device, in_parallel=True)
        self._threads = CallThreads(self.detector.num_parallel)
        root = token = ""
        if process.rank == 0:
            output = self._open_output()
            root, token = str(output.root), new_token()
        try:
            root, token = process.broadcast((root, token))
        except RuntimeError:
            raise RetinaFaceError("the first process of the run could not begin; see its message") from None
        if process.rank != 0:
            output = OutputFolder.join(Path(root), rank=process.rank, protect=self._protect)
        self._shared = SharedWork(Path(root), token, rank=process.rank, world_size=process.world_size)
        self.results = RESULTS[self.settings.save](output, self.settings)

    def batches(self) -> Iterator[list[Loaded]]:
        """This process's share of what is not done yet, read ahead, until the run is to stop.

        The clock starts, and the other processes are told from now on how far this one is.
        """
        self._started = time.monotonic()
        self._shared.start(lambda: self.tally.as_json(with_failures=False))
        settings = self.settings
        default_workers = min(num_cores(), _MAX_READERS)
        images = read_images(
            self._items(),
            TestScale.of(settings),
            num_workers=default_workers if settings.num_workers is None else settings.num_workers,
            keep_original=settings.needs_originals,
        )
        default_size = 1 if self.process.device.type == "cpu" else _GPU_BATCH_SIZE
        return batch_by_size(self._until_stopped(images), settings.batch_size or default_size)

    def _until_stopped(self, images: Iterator[Loaded]) -> Iterator[Loaded]:
        for image in images:
            if self._should_stop():
                return
            yield image

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
        if self.process.world_size == 1 or num_images is None:
            return _MAX_PART_SIZE
        return max(1, min(_MAX_PART_SIZE, num_images // (_PARTS_A_PROCESS * self.process.world_size)))

    def predict(self, batch: list[Loaded]) -> None:
        """Begins with one batch, and writes the faces of those before it as far as they have been found.

        The network runs in threads of its own, one batch ahead of the writing.
        """
        assert self._threads is not None, "begin comes first"
        self._in_flight.append((batch, self._threads.submit(self._detect, _readable(batch))))
        while len(self._in_flight) > self.detector.num_parallel or self._holds_too_much():
            self._write_next()

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
                if loaded.is_end:
                    num_images, num_faces = self.results.end_part(loaded.part)
                    self.tally.num_images -= num_images
                    self.tally.num_faces -= num_faces
                else:
                    self.results.begin_part(loaded.part)
        self._count_refused()

    def _count_refused(self) -> None:
        for failure in self.results.take_refused():
            self.tally.add_failure(failure, max_listed=self.results.max_listed_failures)

    def end(self, *, is_other_gone: Callable[[], bool]) -> None:
        """Writes what is still under way, waits for the other processes, and adds up all tallies.

        Args:
            is_other_gone: whether a process that this one has started, or was started by, lives no more.

        Raises:
            LostProcessError: another process is lost or has failed.
        """
        while self._in_flight:
            self._write_next()
        if self._threads is not None:
            self._threads.shutdown()
        is_stopped = self._should_stop()
        self.results.close(complete=not is_stopped)
        self._count_refused()
        if self.process.rank != 0:
            self.results.folder.close()  # the first process reads what was written
        self.tally.interrupted = self.stop_requested.is_set()
        self._shared.end("stopped" if self.tally.interrupted else "ended", self.tally.as_json())
        last_moment = time.monotonic() + _MAX_WAIT_WHEN_STOPPED
        self._shared.wait_for_others(
            is_over=lambda: is_other_gone() or (self._should_stop() and time.monotonic() > last_moment)
        )
        self.seconds = time.monotonic() - self._started
        if self.stop_requested.is_set():
            reason = self._shared.explain_silence(0)  # the first process says how to go on, unless it is lost
        else:
            is_lost = is_other_gone() and not self._shared.have_others_ended
            reason = self._shared.problem or ("it was killed or crashed" if is_lost else "")
        if reason:
            raise LostProcessError(self.results.folder.root, reason)
        self.tally = self.total()
        if self.process.rank == 0 and not is_stopped:
            self._shared.clear_claims()
        self._shared.close()

    def end_with(self, error: BaseException) -> None:
        """Gives up what is under way, and tells the other processes that this one has failed."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
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

    def _detect(self, images: Sequence[Image]) -> list[FaceDetections]:
        return self.detector.detect_prepared(
            [image.resized for image in images],
            [image.resizer for image in images],
            [image.original for image in images],
        )


def _readable(batch: Sequence[Loaded]) -> list[Image]:
    return [loaded for loaded in batch if isinstance(loaded, Image)]
