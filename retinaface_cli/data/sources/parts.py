"""The work of a run in parts: each is done by one process, and its results are written together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from retinaface_cli.data.sources.files import Source, SourceItem
from retinaface_cli.data.sources.lists import InputStream, ListLine
from retinaface_cli.data.sources.shards import Shard
from retinaface_cli.files.listing import Problem


@dataclass(frozen=True)
class Part:
    """A shard, or some images and videos.

    Attributes:
        number: from 0, in the order of the inputs.
        entries: of the inputs; lines of lists are looked up when their sources are asked for.
    """

    number: int
    entries: tuple[Source | Problem | ListLine, ...]

    @cached_property
    def sources(self) -> tuple[Source | Problem, ...]:
        """The shard alone, or the images and videos, and entries of lists that cannot be used."""
        found: list[Source | Problem] = []
        for entry in self.entries:
            if isinstance(entry, ListLine):
                found += entry.resolve()
            else:
                found.append(entry)
        return tuple(dict.fromkeys(found))

    @cached_property
    def stamp(self) -> str:
        """What tells the files in it from others and from what they were before."""
        digest = hashlib.sha256()
        for source in self.sources:
            text = source.stamp if isinstance(source, Source) else source.name
            digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    def items(self) -> Iterator[SourceItem]:
        """What is in it, one after the other."""
        for source in self.sources:
            if isinstance(source, Source):
                yield from source.items()
            else:
                yield source


class Work:
    """All that a run is to do.

    Attributes:
        sources: images, videos and shards in the order of the inputs, and entries of lists that cannot be used; the
            same in every process. Lines of lists may stand for them.
        num_parts: that have been dealt out so far; all of them when `parts` has come to its end.
    """

    def __init__(self, sources: Iterable[Source | Problem | ListLine]) -> None:
        self.sources = sources
        self.num_parts = 0

    def list_sources(self) -> Iterator[Source]:
        """The images, videos and shards that are no lines of lists."""
        return (source for source in self.sources if isinstance(source, Source))

    @cached_property
    def num_images(self) -> int | None:
        """Images and videos in all; None where that is not known before they are read."""
        sources = self.sources.known if isinstance(self.sources, InputStream) else self.sources
        if not isinstance(sources, Sequence) or any(isinstance(source, Shard) for source in sources):
            return None
        return len(sources)

    def parts(self, size: int) -> Iterator[Part]:
        """Parts of at most `size` images, videos and problems, in their order; a shard is a part of its own."""
        self.num_parts = 0
        waiting: list[Source | Problem | ListLine] = []
        for source in self.sources:
            is_shard = source.is_shard if isinstance(source, ListLine) else isinstance(source, Shard)
            if waiting and (is_shard or len(waiting) == size):
                yield self._next_part(waiting)
                waiting = []
            waiting.append(source)
            if is_shard:
                yield self._next_part(waiting)
                waiting = []
        if waiting:
            yield self._next_part(waiting)

    def _next_part(self, entries: Iterable[Source | Problem | ListLine]) -> Part:
        self.num_parts += 1
        return Part(self.num_parts - 1, tuple(entries))
