"""A stream of images, read and resized ahead of the network by a few threads, and grouped into batches."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from retinaface_cli.data.preprocessing import Resizer, RgbImage, TestScale, decode_rgb, read_image_bytes
from retinaface_cli.data.sources import Source
from retinaface_cli.data.video import read_frames
from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.formats.image_heads import count_pixels
from retinaface_cli.geometry.anchors import padded_size

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOKAHEAD_BATCHES = 8

_MAX_PIXELS_AT_ONCE = 150_000_000
"""Pixels that are decoded at the same time: 450 MB as RGB, and as much again while they are converted."""

_UNKNOWN_PIXELS = 25_000_000
"""What an image is taken for whose format does not say its size at once."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image, or a frame of a video, ready for the network.

    Attributes:
        source: the file it comes from.
        name: relative to the input root, forward slashes; for a frame the video's name, a slash and the frame's number.
        resized: (h, w, 3) uint8 RGB at network size.
        resizer: back to original pixels.
        original: (H, W, 3) uint8 RGB, where it was asked for.
    """

    source: Source
    name: str
    resized: RgbImage
    resizer: Resizer
    original: RgbImage | None


@dataclass(frozen=True)
class UnreadableImage:
    """An image or video that could not be read, and why."""

    source: Source
    reason: str

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name


Loaded = Image | UnreadableImage


def frame_name(video_name: str, index: int) -> str:
    """The name of a frame of a video."""
    return f"{video_name}/{index:06d}"


def read_images(
    sources: Sequence[Source], scale: TestScale, *, num_workers: int, keep_original: bool
) -> Iterator[Loaded]:
    """Reads and resizes images in order, `num_workers` at a time and a few ahead; videos frame by frame.

    An image that cannot be read comes as UnreadableImage. At most a few images a worker are held.
    """
    budget = _PixelBudget()

    def load(source: Source) -> Loaded | None:
        """The image of a source; None for a video, whose frames are read in their turn."""
        return None if source.is_video else _load_image(source, scale, budget, keep_original=keep_original)

    for source, loaded in zip(sources, _map_ahead(load, sources, num_workers=num_workers), strict=False):
        if loaded is not None:
            yield loaded
        else:
            yield from _load_frames(source, scale, keep_original=keep_original)


class _PixelBudget:
    """Lets threads decode side by side only as many pixels as memory has room for; a larger image goes alone."""

    def __init__(self) -> None:
        self._left = _MAX_PIXELS_AT_ONCE
        self._changed = threading.Condition()

    @contextmanager
    def take(self, num_pixels: int) -> Iterator[None]:
        """Waits until so many pixels can be decoded beside what is under way."""
        wanted = min(num_pixels, _MAX_PIXELS_AT_ONCE)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= wanted)
            self._left -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._left += wanted
                self._changed.notify_all()


def _load_image(source: Source, scale: TestScale, budget: _PixelBudget, *, keep_original: bool) -> Loaded:
    try:
        data = read_image_bytes(source.path)
        with budget.take(count_pixels(data) or _UNKNOWN_PIXELS):
            image = decode_rgb(data, name=shown(source.path))
            return _prepare(source, source.name, image, scale, keep_original=keep_original)
    except ImageReadError as error:
        return UnreadableImage(source, str(error).removeprefix(f"{shown(source.path)}: "))


def _load_frames(source: Source, scale: TestScale, *, keep_original: bool) -> Iterator[Loaded]:
    try:
        for index, image in enumerate(read_frames(source.path)):
            name = frame_name(source.name, index)
            yield _prepare(source, name, image, scale, keep_original=keep_original)
    except ImageReadError as error:
        yield UnreadableImage(source, str(error).removeprefix(f"{shown(source.path)}: "))


def _prepare(source: Source, name: str, image: RgbImage, scale: TestScale, *, keep_original: bool) -> Image:
    resizer = Resizer.for_scale((image.shape[0], image.shape[1]), scale)
    return Image(source, name, resizer.resize(image), resizer, image if keep_original else None)


def _map_ahead(function: Callable[[Item], Result], items: Iterable[Item], *, num_workers: int) -> Iterator[Result]:
    """`map` with threads that work a bounded number of items ahead; results in order."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(max(num_workers, 1), thread_name_prefix="read")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * num_workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batch_by_size(images: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    """Groups images that go through the network together: same size after rounding up to multiples of 32.

    Groups are emptied at the latest when eight batches wait in all, and whenever a video begins or ends, so that frames
    stay in order. Images that could not be read ride along with the next batch.
    """
    groups: dict[tuple[int, int], list[Loaded]] = defaultdict(list)
    failed: list[Loaded] = []
    previous: Source | None = None
    for loaded in images:
        if previous not in (None, loaded.source) and (loaded.source.is_video or (previous and previous.is_video)):
            yield from _drain(groups)
        previous = loaded.source
        if isinstance(loaded, UnreadableImage):
            failed.append(loaded)
            continue
        group = groups[padded_size(loaded.resizer.network_size)]
        group.append(loaded)
        if len(group) == batch_size:
            yield [*group, *failed]
            group.clear()
            failed.clear()
        elif sum(map(len, groups.values())) >= _LOOKAHEAD_BATCHES * batch_size:
            yield from _drain(groups)
    yield from _drain(groups)
    if failed:
        yield failed


def _drain(groups: dict[tuple[int, int], list[Loaded]]) -> Iterator[list[Loaded]]:
    """All waiting groups as batches, the first that began first."""
    waiting = [group for group in groups.values() if group]
    groups.clear()
    yield from waiting
