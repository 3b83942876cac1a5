"""The work of a run: its inputs as a stream, dealt out in parts.

Lists are read while the run goes on, and their files are looked for when their turn comes. Each part is done by one
process, and its results are written together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from retinaface_cli.data.sources.files import Source, SourceItem
from retinaface_cli.data.sources.listing import SUFFIXES, SourceListing, find_sources, is_list, source_of
from retinaface_cli.data.sources.shards import Shard, is_shard
from retinaface_cli.errors import FileReadError, ImageReadError
from retinaface_cli.files.addresses import Address
from retinaface_cli.files.listing import FoundFile, OwnResults, Problem, find_listed, folder_of, read_list, walk_folder


@dataclass(frozen=True)
class ListLine:
    """A line of a list, whose file nobody has looked for yet.

    Attributes:
        text: of the line.
        folder: where the list lies.
        results: tells what earlier runs wrote in the output folder.
    """

    text: str
    folder: Path | Address
    results: OwnResults

    @property
    def is_shard(self) -> bool:
        """Whether it names a shard."""
        return is_shard(self.text.strip().strip("\"'"))

    def resolve(self) -> Iterator[Source | Problem]:
        """The image, video or shard that the line names, those in the folder that it names, or nothing.

        Names are relative to the folder of the list where the files lie below it, and else as the list has them.
        """
        for place in find_listed(self.text, self.folder):
            if isinstance(place, Problem):
                yield place
            elif isinstance(place, str):
                yield source_of(place, place.removeprefix(f"{self.folder}/"))
            elif place.is_dir():
                for entry in walk_folder(place, suffixes=SUFFIXES):
                    if isinstance(entry, FoundFile):
                        yield source_of(entry.path, self._name(entry.path))
                    elif isinstance(entry, Problem):
                        yield entry
            elif not self.results.lists(place):
                yield source_of(place, self._name(place))

    def _name(self, path: Path) -> str:
        is_below = isinstance(self.folder, Path) and path.is_relative_to(self.folder)
        return (path.relative_to(self.folder) if is_below else path).as_posix()


class InputStream:
    """The sources of all inputs in their order; files and folders are looked up at once, lists are read as they go on.

    Attributes:
        listings: what the inputs between the lists hold.
        lists: the paths and addresses of lists.
    """

    def __init__(self, inputs: Sequence[str], *, output: Path | None = None) -> None:
        """Makes the stream; see find_sources.

        Raises:
            ImageReadError: an input does not exist, or nothing is found.
        """
        self.listings: list[SourceListing] = []
        self.lists = [item.removeprefix("@") for item in inputs if is_list(item) and item != "-"]
        self._results = OwnResults(output)
        self._groups: list[SourceListing | str] = []
        for location in self.lists:
            _check_list(location)
        for is_of_lists, group in groupby(inputs, key=is_list):
            if is_of_lists:
                self._groups += [item.removeprefix("@") for item in group]
            else:
                self.listings.append(find_sources(list(group), output=output))
                self._groups.append(self.listings[-1])

    @property
    def known(self) -> Sequence[Source | Problem] | None:
        """All sources; None where there are lists, which would have to be read."""
        if len(self.listings) != len(self._groups):
            return None
        sources: list[Source | Problem] = []
        for listing in self.listings:
            sources += [*listing.sources, *listing.problems]
        return sources

    def __iter__(self) -> Iterator[Source | Problem | ListLine]:
        for group in self._groups:
            if isinstance(group, SourceListing):
                yield from group.sources
                yield from group.problems
            else:
                folder = folder_of(group)
                for line in read_list(group):
                    yield line if isinstance(line, Problem) else ListLine(line, folder, self._results)


def _check_list(location: str) -> None:
    try:
        with closing(read_list(location)) as lines:
            if next(lines, None) is None:
                raise FileReadError(f"{location}: holds no paths")
    except FileReadError as error:
        raise ImageReadError(f"{error}; expected a list of images") from None


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
