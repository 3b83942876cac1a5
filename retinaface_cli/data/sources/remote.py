"""Images and shards at an address, such as `s3://bucket/x.jpg`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.data.sources.files import Source
from retinaface_cli.data.sources.shards import Shard, is_shard
from retinaface_cli.errors import ImageReadError
from retinaface_cli.files.addresses import path_of, read_address, stamp_of_address
from retinaface_cli.files.listing import VIDEO_SUFFIXES


@dataclass(frozen=True)
class RemoteImage(Source):
    """An image at an address; its path is none on this machine."""

    address: str

    @property
    def is_video(self) -> bool:
        """No: frames are read from files of this machine."""
        return False

    @property
    def location(self) -> str:
        """The address."""
        return self.address

    @property
    def stamp(self) -> str:
        """The address alone; to ask the server for the state of each image would take as long as to read it."""
        return self.address

    def read_size(self) -> tuple[int, int] | None:
        """Not known before it is read."""
        return None

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            ImageReadError: it cannot be read.
        """
        if self.path.suffix.lower() in VIDEO_SUFFIXES:
            raise ImageReadError(f"{self.place}: videos are read from files of this machine; download it")
        from retinaface_cli.data.preprocessing import MAX_FILE_BYTES  # OpenCV is slow to import

        return read_address(self.address, max_bytes=MAX_FILE_BYTES, error=ImageReadError)


@dataclass(frozen=True)
class RemoteShard(Shard):
    """A tar file of images at an address."""

    address: str

    @property
    def location(self) -> str:
        """The address."""
        return self.address

    @property
    def stamp(self) -> str:
        """Address, size and version, as far as the server says them."""
        return stamp_of_address(self.address)


def source_at(address: str, name: str) -> Source:
    """What lies at an address, by its ending."""
    path = Path(path_of(address))
    return RemoteShard(path, name, address) if is_shard(path.name) else RemoteImage(path, name, address)
