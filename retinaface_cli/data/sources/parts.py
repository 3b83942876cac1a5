"""The work of a run in parts: each is done by one process, and its results are written together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from retinaface_cli.data.sources.files import Source, SourceItem
from retinaface_cli.data.sources.shards import Shard
from retinaface_cli.files.listing import Problem


@dataclass(frozen=True)
class Part:
    """A shard, or some images and videos.

    Attributes:
        number: from 0, in the order of the inputs.
        sources: the shard alone, or the images and videos, and entries of lists that cannot be used.
    """

    number: int
    sources: tuple[Source | Problem, ...]

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


def deal_parts(sources: Iterable[Source | Problem], size: int) -> Iterator[Part]:
    """Parts of at most `size` images, videos and problems, in their order; a shard is a part of its own."""
    number = 0
    waiting: list[Source | Problem] = []
    for source in sources:
        is_shard = isinstance(source, Shard)
        if waiting and (is_shard or len(waiting) == size):
            yield Part(number, tuple(waiting))
            number += 1
            waiting = []
        waiting.append(source)
        if is_shard:
            yield Part(number, tuple(waiting))
            number += 1
            waiting = []
    if waiting:
        yield Part(number, tuple(waiting))
