"""Images and videos that are files of their own, on this machine or at an address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.addresses import open_anywhere, read_address
from retinaface_cli.files.listing import VIDEO_SUFFIXES, Problem
from retinaface_cli.files.manifest import stamp_of
from retinaface_cli.formats.image_heads import read_size


@dataclass(frozen=True)
class Source:
    """One image or video to work on; other kinds of sources derive from it.

    Attributes:
        path: where it lies.
        name: its path relative to the input root, forward slashes; unique in a run.
        address: such as `s3://bucket/x.jpg`, whose path is none on this machine; empty for a file of this machine.
    """

    path: Path
    name: str
    address: str = field(default="", kw_only=True)

    @property
    def is_video(self) -> bool:
        """Whether it is a file of this machine with the ending of a video."""
        return not self.address and self.path.suffix.lower() in VIDEO_SUFFIXES

    @property
    def location(self) -> str:
        """Its path, or its address."""
        return self.address or str(self.path)

    @property
    def place(self) -> str:
        """Where it lies, for messages."""
        return shown(self.location)

    @property
    def stamp(self) -> str:
        """What tells it from another of the same name: its path, size and time, or its address.

        To ask a server for the state of each image would take as long as to read it.
        """
        return self.address or stamp_of(self.path)

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
        """(height, width) from the head of the image; None at an address, or where its format does not say it at once.

        Raises:
            ImageReadError: it cannot be read.
        """
        if self.address:
            return None
        with self.open() as file:
            return read_size(file)

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            ImageReadError: it cannot be read.
        """
        from retinaface_cli.data.preprocessing import MAX_FILE_BYTES, read_image_bytes  # OpenCV is slow to import

        if not self.address:
            return read_image_bytes(self.path)
        if self.path.suffix.lower() in VIDEO_SUFFIXES:
            raise ImageReadError(f"{self.place}: videos are read from files of this machine; download it")
        return read_address(self.address, max_bytes=MAX_FILE_BYTES, error=ImageReadError)

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
