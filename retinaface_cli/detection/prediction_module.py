"""The detector under Lightning's predict loop: one process a device, each image in exactly one of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch

from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.reading import Image, Loaded, UnreadableImage, batch_by_size, read_images
from retinaface_cli.data.sources import Source
from retinaface_cli.detection.backends import Backend, Precision
from retinaface_cli.detection.cpu_memory import keep_freed_memory
from retinaface_cli.detection.cpu_threads import CallThreads
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.tta import TestTimeAugmentation, detect_augmented
from retinaface_cli.detection.writer import OutputFolder, PredictionWriter, WriterOptions
from retinaface_cli.faces import FaceDetections
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.postprocess import PostprocessOptions

_GPU_BATCH_SIZE = 8


@dataclass
class PredictionTally:
    """What one process has done so far."""

    num_images: int = 0
    num_faces: int = 0
    num_done_before: int = 0
    failures: list[UnreadableImage] = field(default_factory=list)


class ImageStream:
    """The batches of one process, read ahead; the event ends it before the next image, from a signal handler say."""

    def __init__(
        self,
        sources: Sequence[Source],
        scale: TestScale,
        *,
        batch_size: int,
        num_workers: int,
        keep_original: bool,
        stop_requested: threading.Event,
    ) -> None:
        self.sources = sources
        self._scale = scale
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._keep_original = keep_original
        self._stop_requested = stop_requested

    def __iter__(self) -> Iterator[list[Loaded]]:
        images = read_images(
            self.sources, self._scale, num_workers=self._num_workers, keep_original=self._keep_original
        )
        return batch_by_size(self._until_stopped(images), self._batch_size)

    def _until_stopped(self, images: Iterator[Loaded]) -> Iterator[Loaded]:
        for image in images:
            if self._stop_requested.is_set():
                return
            yield image


@dataclass(frozen=True)
class PredictionPlan:
    """What a run is to do; the same in every process.

    Attributes:
        sources: all images and videos, in input order.
        weights: of the detector.
        scale: at what size images go through the network.
        precision: number format in the network.
        backend: library that runs the network.
        options: which detections are kept.
        writer_options: what is written besides the labels.
        multi_scale: whether large images get a second look, for very large faces; without effect on augmentation.
        double_check: whether doubtful faces are looked at again; without effect on augmentation.
        augmentation: how each image is looked at several times; None: it is looked at once.
        batch_size: images at once; None: 1 on the CPU, 8 on a GPU.
        num_workers: threads that read images.
        open_folder: makes the output folder ready; called in the first process only.
    """

    sources: Sequence[Source]
    weights: LoadedWeights
    scale: TestScale
    precision: Precision
    backend: Backend
    options: PostprocessOptions
    writer_options: WriterOptions
    multi_scale: bool
    double_check: bool
    augmentation: TestTimeAugmentation | None
    batch_size: int | None
    num_workers: int
    open_folder: Callable[[], Path]


class PredictionModule(pl.LightningModule):
    """Detects, writes, and counts."""

    def __init__(self, plan: PredictionPlan) -> None:
        super().__init__()
        self.tally = PredictionTally()
        self.plan = plan
        self._in_flight: deque[tuple[list[Loaded], Future[list[FaceDetections]]]] = deque()
        self.stop_requested = threading.Event()

    def setup(self, stage: str) -> None:
        """Agrees on the output folder, and builds the detector on this process's device."""
        root = str(self.plan.open_folder()) if self.global_rank == 0 else ""
        self.folder = OutputFolder(Path(self.trainer.strategy.broadcast(root)))
        self._writer = PredictionWriter(self.folder, self.plan.writer_options)
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        self.detector = FaceDetector(
            self.plan.weights,
            device=self.trainer.strategy.root_device,
            precision=self.plan.precision,
            backend=self.plan.backend,
            scale=self.plan.scale,
            options=self.plan.options,
            multi_scale=self.plan.multi_scale and self.plan.augmentation is None,
            double_check=self.plan.double_check and self.plan.augmentation is None,
            in_parallel=True,
        )
        self._threads = CallThreads(self.detector.num_parallel)

    def on_predict_start(self) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def predict_dataloader(self) -> ImageStream:
        """This process's share of what is not done yet: every n-th source of the input order."""
        share = self.plan.sources[self.global_rank :: self.trainer.world_size]
        todo = [source for source in share if not self.folder.is_done(source)]
        self.tally.num_done_before = len(share) - len(todo)
        default_size = 1 if self.detector.device.type == "cpu" else _GPU_BATCH_SIZE
        return ImageStream(
            todo,
            self.plan.scale,
            batch_size=self.plan.batch_size or default_size,
            num_workers=self.plan.num_workers,
            keep_original=self.plan.writer_options.needs_original or self.plan.augmentation is not None,
            stop_requested=self.stop_requested,
        )

    def predict_step(self, batch: list[Loaded], batch_idx: int) -> PredictionTally:
        """Begins with one batch, and writes the faces of those before it as far as they have been found.

        The network runs in threads of its own, one batch ahead of the writing.

        Returns:
            The tally of this process so far.
        """
        self._in_flight.append((batch, self._threads.submit(self._detect, _readable(batch))))
        while len(self._in_flight) > self.detector.num_parallel:
            self._write_next()
        return self.tally

    def _write_next(self) -> None:
        """Writes the faces of the batch that was begun first."""
        batch, found = self._in_flight.popleft()
        for image, faces in zip(_readable(batch), found.result(), strict=True):
            self._writer.write(image, faces)
            self.tally.num_images += 1
            self.tally.num_faces += len(faces)
        self.tally.failures.extend(loaded for loaded in batch if isinstance(loaded, UnreadableImage))

    def on_predict_end(self) -> None:
        """Writes what is still under way, and adds up the tallies of all processes."""
        while self._in_flight:
            self._write_next()
        self._threads.shutdown()
        self._writer.close(complete=not self.stop_requested.is_set())
        self.seconds = time.monotonic() - self._started
        self.tally = _sum_over_processes(self.tally)

    def transfer_batch_to_device(self, batch: list[Loaded], device: object, dataloader_idx: int) -> list[Loaded]:
        """Leaves the batch alone: the detector moves the images itself."""
        return batch

    def _detect(self, images: Sequence[Image]) -> list[FaceDetections]:
        if not images:
            return []
        if self.plan.augmentation is not None:
            originals = [image.original for image in images if image.original is not None]
            return detect_augmented(self.detector, originals, self.plan.augmentation)
        found = self.detector.detect_resized([image.resized for image in images])
        return [image.resizer.restore(faces) for image, faces in zip(images, found, strict=True)]


def _readable(batch: Sequence[Loaded]) -> list[Image]:
    return [loaded for loaded in batch if isinstance(loaded, Image)]


def _sum_over_processes(tally: PredictionTally) -> PredictionTally:
    """The tally of the whole run, in every process; returns when all of them have got here."""
    if not torch.distributed.is_initialized():
        return tally
    gathered: list[PredictionTally] = [PredictionTally()] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, tally)
    return PredictionTally(
        num_images=sum(one.num_images for one in gathered),
        num_faces=sum(one.num_faces for one in gathered),
        num_done_before=sum(one.num_done_before for one in gathered),
        failures=[failure for one in gathered for failure in one.failures],
    )
