"""A stream of images, read and resized ahead of the network by a few threads, and grouped into batches."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from retinaface_cli.data.pixel_budget import MAX_PIXELS_AT_ONCE, promised_pixels
from retinaface_cli.data.preprocessing import Resizer, TestScale, decode_at_scale
from retinaface_cli.data.sources import MemberBytes, Part, Source, SourceItem
from retinaface_cli.data.video import read_frames
from retinaface_cli.errors import ImageReadError
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.listing import Problem
from retinaface_cli.geometry.anchors import padded_size

_LOOKAHEAD_BATCHES = 8

_FRAME_PIXELS = 25_000_000
"""What a video is taken for."""

_MAX_BYTES_AHEAD = 1 << 28
"""Bytes of shards that are read ahead of the decoding."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image, or a frame of a video, ready for the network.

    Attributes:
        source: the file it comes from.
        name: relative to the input root, forward slashes; for a frame the video's name, a slash and the frame's number.
        resized: (h, w, 3) uint8 RGB at network size.
        resizer: back to original pixels.
        original: (H, W, 3) uint8 RGB, where it was asked for.
        position: of the source in its part, from 0.
    """

    source: Source
    name: str
    resized: RgbImage
    resizer: Resizer
    original: RgbImage | None
    position: int = 0


@dataclass(frozen=True)
class UnreadableImage:
    """An image or video that could not be read, or its results not written, why, and its position in its part."""

    source: Source
    reason: str
    position: int = 0

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    def describe(self) -> dict[str, str]:
        """An entry of errors.json."""
        return {"file_name": self.name, "path": self.source.location, "reason": self.reason}


@dataclass(frozen=True)
class PartMark:
    """Stands in a stream before the first image of a part, and behind the last one."""

    part: Part
    is_end: bool

    @property
    def name(self) -> str:
        """The number of the part."""
        return f"part {self.part.number}"


Loaded = Image | UnreadableImage | PartMark


def frame_name(video_name: str, index: int) -> str:
    """The name of a frame of a video."""
    return f"{video_name}/{index:06d}"


def read_images(
    items: Iterable[SourceItem | PartMark], scale: TestScale, *, num_workers: int, keep_original: bool
) -> Iterator[Loaded]:
    """Reads and resizes images in order, `num_workers` at a time and a few ahead; videos frame by frame.

    An image that cannot be read comes as UnreadableImage. The images that are under way, wait to be taken, or were
    taken last hold a bounded number of pixels; a larger image goes alone.
    """
    remaining = _number(items)
    ahead: deque[_ImageAhead] = deque()
    pool = ThreadPoolExecutor(max(num_workers, 1), thread_name_prefix="read")
    load = partial(_load, scale=scale, keep_original=keep_original)
    decode = partial(pool.submit, load)
    try:
        while True:
            while _has_room(ahead, num_workers) and (item := next(remaining, None)) is not None:
                ahead.append(_ImageAhead(item, pool.submit(_count_pixels, item)))
            if not ahead:
                return
            _begin(ahead, decode)
            first = ahead[0]
            if first.loaded is None:
                yield from _load_frames(first.item, scale, keep_original=keep_original)
            else:
                first.loaded.exception()  # waits; sizes behind it are known by then
                _begin(ahead, decode)
                yield first.loaded.result()
            ahead.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, eq=False)
class _NumberedItem:
    """What a stream is made of; data are the bytes of a shard's member, position counts from 0 in each part."""

    content: Source | Problem | PartMark
    data: bytes | None
    position: int

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return isinstance(self.content, Source) and self.content.is_video


def _number(items: Iterable[SourceItem | PartMark]) -> Iterator[_NumberedItem]:
    """The items with their positions in their parts."""
    position = 0
    for item in items:
        content, data = item if isinstance(item, MemberBytes) else (item, None)
        yield _NumberedItem(content, data, position)
        position = 0 if isinstance(item, PartMark) else position + 1


@dataclass(eq=False)
class _ImageAhead:
    """An image on its way: its size is read first, and its pixels once there is room for them."""

    item: _NumberedItem
    num_pixels: Future[int]
    loaded: Future[Loaded] | None = None

    def num_held(self) -> int:
        """Pixels that it holds in memory now, or will while it is decoded."""
        if self.loaded is None:
            return 0
        if not self.loaded.done() or self.loaded.exception() is not None:
            return self.num_pixels.result()
        return count_held(self.loaded.result())


def _has_room(ahead: Collection[_ImageAhead], num_workers: int) -> bool:
    """Whether a further item may be taken from the source."""
    num_bytes = sum(len(image.item.data or b"") for image in ahead)
    return len(ahead) <= 2 * num_workers and num_bytes <= _MAX_BYTES_AHEAD


def _begin(ahead: Iterable[_ImageAhead], decode: Callable[[_NumberedItem], Future[Loaded]]) -> None:
    """Begins to decode images in their order until there is no room for the next; the first is always begun.

    It is called when an image is asked for. So no thread ever waits for room, and the reading can end at any time.
    """
    num_held = 0
    for position, image in enumerate(ahead):
        if image.loaded is None and not image.item.is_video:
            is_known = position == 0 or image.num_pixels.done()
            if not is_known or (num_held and num_held + image.num_pixels.result() > MAX_PIXELS_AT_ONCE):
                return
            image.loaded = decode(image.item)
        num_held += image.num_held()


def count_held(loaded: Loaded) -> int:
    """Pixels of an image that are held in memory."""
    if not isinstance(loaded, Image):
        return 0
    arrays = {id(array): array for array in (loaded.resized, loaded.original) if array is not None}
    return sum(array.shape[0] * array.shape[1] for array in arrays.values())


def _count_pixels(item: _NumberedItem) -> int:
    """Pixels that the head of an image promises; what is wrong with a file is told by its decoding."""
    if not isinstance(item.content, Source):
        return 0
    return _FRAME_PIXELS if item.is_video else promised_pixels(item.content, item.data)


def _load(item: _NumberedItem, *, scale: TestScale, keep_original: bool) -> Loaded:
    """What comes of an item that is no video."""
    source, position = item.content, item.position
    if isinstance(source, PartMark):
        return source
    if isinstance(source, Problem):
        return UnreadableImage(Source(Path(source.name), source.name), source.reason, position)
    try:
        data = source.read() if item.data is None else item.data
        scaled = decode_at_scale(data, scale, name=source.place, keep_original=keep_original)
        return Image(source, source.name, *scaled, position)
    except ImageReadError as error:
        return UnreadableImage(source, str(error).removeprefix(f"{source.place}: "), position)


def _load_frames(item: _NumberedItem, scale: TestScale, *, keep_original: bool) -> Iterator[Image | UnreadableImage]:
    video, position = item.content, item.position
    assert isinstance(video, Source)
    try:
        for index, image in enumerate(read_frames(video.path)):
            name = frame_name(video.name, index)
            resizer = Resizer.for_scale((image.shape[0], image.shape[1]), scale)
            yield Image(video, name, resizer.resize(image), resizer, image if keep_original else None, position)
    except ImageReadError as error:
        yield UnreadableImage(video, str(error).removeprefix(f"{video.place}: "), position)


def batch_by_size(images: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    """Groups images that go through the network together: same size after rounding up to multiples of 32.

    Groups are emptied at the latest when eight batches or too many pixels wait in all, whenever a video begins or ends,
    so that frames stay in order, and at the end of a part. Images that could not be read, and the marks of parts, ride
    along with the next batch.
    """
    groups: dict[tuple[int, int], list[Loaded]] = defaultdict(list)
    failed: list[Loaded] = []
    previous: Source | None = None
    for loaded in images:
        if isinstance(loaded, PartMark):
            yield from _drain(groups)
            yield [*failed, loaded]
            failed.clear()
            previous = None
            continue
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
