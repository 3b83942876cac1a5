"""Images and videos that are files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retinaface_cli.data.preprocessing import read_image_bytes
from retinaface_cli.errors import shown
from retinaface_cli.files.listing import VIDEO_SUFFIXES, Problem
from retinaface_cli.files.manifest import stamp_of
from retinaface_cli.formats.image_heads import read_size_from_head


@dataclass(frozen=True)
class Source:
    """One image or video to work on; other kinds of sources derive from it.

    Attributes:
        path: where it lies.
        name: its path relative to the input root, forward slashes; unique in a run.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether the file's ending is that of a video."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def location(self) -> str:
        """Its path, or its address."""
        return str(self.path)

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return shown(self.location)

    @property
    def stamp(self) -> str:
        """What tells it from another of the same name: its path, size and time."""
        return stamp_of(self.path)

    @property
    def shard(self) -> str:
        """Name of the shard that it is a member of; empty where it is a file of its own."""
        return ""

    def read_size(self) -> tuple[int, int] | None:
        """(height, width) from the head of the image; None where its format does not say it at once.

        Raises:
            OSError: it cannot be read.
        """
        return read_size_from_head(self.path)

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            ImageReadError: it cannot be read.
        """
        return read_image_bytes(self.path)

    def items(self) -> Iterator[SourceItem]:
        """What is in it, one after the other: itself, or the members of a shard."""
        yield self


class MemberBytes(NamedTuple):
    """An image of a shard with its bytes."""

    source: Source
    data: bytes


SourceItem = Source | MemberBytes | Problem
"""An image or video, an image of a shard with its bytes, or what cannot be used."""
