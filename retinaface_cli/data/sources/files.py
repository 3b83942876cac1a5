"""Images and videos that are files of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.addresses import open_anywhere
from retinaface_cli.files.listing import VIDEO_SUFFIXES, Problem
from retinaface_cli.files.manifest import stamp_of
from retinaface_cli.formats.image_heads import read_size


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

    @property
    def suffix(self) -> str:
        """The ending of its name in small letters, with the dot."""
        return PurePosixPath(self.name).suffix.lower()

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Opens the image for reading.

        Raises:
            ImageReadError: it cannot be opened or read.
        """
        return open_anywhere(self.location, error=ImageReadError)

    def read_size(self) -> tuple[int, int] | None:
        """(height, width) from the head of the image; None where its format does not say it at once.

        Raises:
            ImageReadError: it cannot be read.
        """
        with self.open() as file:
            return read_size(file)

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            ImageReadError: it cannot be read.
        """
        from retinaface_cli.data.preprocessing import read_image_bytes  # OpenCV is slow to import

        return read_image_bytes(self.path)

    def load_rgb(self, *, reduction: int = 1) -> RgbImage:
        """The image as (H, W, 3) uint8 RGB; see decode_rgb.

        Raises:
            ImageReadError: it cannot be read or decoded.
        """
        from retinaface_cli.data.preprocessing import decode_rgb  # see read

        return decode_rgb(self.read(), name=self.place, reduction=reduction)

    def items(self) -> Iterator[SourceItem]:
        """What is in it, one after the other: itself, or the members of a shard."""
        yield self


class MemberBytes(NamedTuple):
    """An image of a shard with its bytes."""

    source: Source
    data: bytes


SourceItem = Source | MemberBytes | Problem
"""An image or video, an image of a shard with its bytes, or what cannot be used."""
