"""Inputs as a stream: lists are read while the run goes on, and their files are looked for when their turn comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from retinaface_cli.data.sources.files import Source
from retinaface_cli.data.sources.listing import SUFFIXES, SourceListing, find_sources, is_list, source_of
from retinaface_cli.data.sources.shards import is_shard
from retinaface_cli.errors import FileReadError, ImageReadError
from retinaface_cli.files.addresses import Address, open_anywhere
from retinaface_cli.files.listing import OwnResults, Problem, find_listed, folder_of, list_folder, split_list


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
                listing = list_folder(place, suffixes=SUFFIXES)
                yield from (source_of(file.path, self._name(file.path)) for file in listing.files)
                yield from listing.problems
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
        self.lists = [item[1:] for item in inputs if is_list(item) and item != "-"]
        self._results = OwnResults(output)
        self._groups: list[SourceListing | str] = []
        for location in self.lists:
            _check_list(location)
        for is_of_lists, group in groupby(inputs, key=is_list):
            if is_of_lists:
                self._groups += group
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
            elif group == "-":
                yield from self._lines(split_list(sys.stdin.buffer), Path())
            else:
                with open_anywhere(group[1:]) as stream:
                    yield from self._lines(split_list(stream), folder_of(group[1:]))

    def _lines(self, lines: Iterator[str | Problem], folder: Path | Address) -> Iterator[ListLine | Problem]:
        for line in lines:
            yield line if isinstance(line, Problem) else ListLine(line, folder, self._results)


def _check_list(location: str) -> None:
    try:
        with open_anywhere(location) as stream:
            if next(split_list(stream), None) is None:
                raise FileReadError(f"{location}: holds no paths")
    except FileReadError as error:
        raise ImageReadError(f"{error}; expected a list of images") from None
