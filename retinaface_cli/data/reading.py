"""A stream of images, read and resized ahead of the network by a few threads, and grouped into batches."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from retinaface_cli.data.preprocessing import Resizer, RgbImage, TestScale, load_rgb
from retinaface_cli.data.sources import Source
from retinaface_cli.data.video import read_frames
from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.formats.image_heads import read_size_from_head
from retinaface_cli.geometry.anchors import padded_size

_LOOKAHEAD_BATCHES = 8

MAX_PIXELS_AT_ONCE = 150_000_000
"""Pixels that are held at the same time: 450 MB as RGB, and as much again while they are converted."""

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

    An image that cannot be read comes as UnreadableImage. The images that are under way, wait to be taken, or were
    taken last hold a bounded number of pixels; a larger image goes alone.
    """
    remaining = iter(sources)
    ahead: deque[_ImageAhead] = deque()
    pool = ThreadPoolExecutor(max(num_workers, 1), thread_name_prefix="read")
    load = partial(_load_image, scale=scale, keep_original=keep_original)
    decode = partial(pool.submit, load)
    try:
        while True:
            for source in islice(remaining, 2 * num_workers + 1 - len(ahead)):
                ahead.append(_ImageAhead(source, pool.submit(_count_pixels, source)))
            if not ahead:
                return
            _begin(ahead, decode)
            if ahead[0].loaded is None:
                yield from _load_frames(ahead[0].source, scale, keep_original=keep_original)
            else:
                ahead[0].loaded.exception()  # waits; sizes behind it are known by then
                _begin(ahead, decode)
                yield ahead[0].loaded.result()
            ahead.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(eq=False)
class _ImageAhead:
    """An image on its way: its size is read first, and its pixels once there is room for them."""

    source: Source
    num_pixels: Future[int]
    loaded: Future[Loaded] | None = None

    def num_held(self) -> int:
        """Pixels that it holds in memory now, or will while it is decoded."""
        if self.loaded is None:
            return 0
        if not self.loaded.done() or self.loaded.exception() is not None:
            return self.num_pixels.result()
        return count_held(self.loaded.result())


def _begin(ahead: Iterable[_ImageAhead], decode: Callable[[Source], Future[Loaded]]) -> None:
    """Begins to decode images in their order until there is no room for the next; the first is always begun.

    It is called when an image is asked for. So no thread ever waits for room, and the reading can end at any time.
    """
    num_held = 0
    for position, image in enumerate(ahead):
        if image.loaded is None and not image.source.is_video:
            is_known = position == 0 or image.num_pixels.done()
            if not is_known or (num_held and num_held + image.num_pixels.result() > MAX_PIXELS_AT_ONCE):
                return
            image.loaded = decode(image.source)
        num_held += image.num_held()


def count_held(loaded: Loaded) -> int:
    """Pixels of an image that are held in memory."""
    if isinstance(loaded, UnreadableImage):
        return 0
    arrays = {id(array): array for array in (loaded.resized, loaded.original) if array is not None}
    return sum(array.shape[0] * array.shape[1] for array in arrays.values())


def _count_pixels(source: Source) -> int:
    """Pixels that the head of an image promises; what is wrong with a file is told by its decoding."""
    try:
        size = None if source.is_video else read_size_from_head(source.path)
    except (OSError, ValueError):
        return 0
    return _UNKNOWN_PIXELS if size is None else size[0] * size[1]


def _load_image(source: Source, *, scale: TestScale, keep_original: bool) -> Loaded:
    try:
        image = load_rgb(source.path)
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


def batch_by_size(images: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    """Groups images that go through the network together: same size after rounding up to multiples of 32.

    Groups are emptied at the latest when eight batches or too many pixels wait in all, and whenever a video begins or
    ends, so that frames stay in order. Images that could not be read ride along with the next batch.
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
        elif _is_full(groups.values(), batch_size):
            yield from _drain(groups)
    yield from _drain(groups)
    if failed:
        yield failed


def _is_full(groups: Collection[Sequence[Loaded]], batch_size: int) -> bool:
    num_pixels = sum(count_held(image) for group in groups for image in group)
    return sum(map(len, groups)) >= _LOOKAHEAD_BATCHES * batch_size or num_pixels > MAX_PIXELS_AT_ONCE


def _drain(groups: dict[tuple[int, int], list[Loaded]]) -> Iterator[list[Loaded]]:
    """All waiting groups as batches, the first that began first."""
    waiting = [group for group in groups.values() if group]
    groups.clear()
    yield from waiting
