"""Images in tar files: those that come with the stream of a shard, and those that are read in any order."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from retinaface_cli.data.sources.files import Source
from retinaface_cli.errors import FileReadError, ImageReadError, shown
from retinaface_cli.files.reading import open_regular


@dataclass(frozen=True)
class Member(Source):
    """An image in a shard, whose bytes come with the stream; its name is the shard's with its own path behind."""

    shard_name: str
    shard_stamp: str

    @property
    def is_video(self) -> bool:
        """No: frames cannot be read from within a shard."""
        return False

    @property
    def place(self) -> str:
        """The shard and the path in it, for messages."""
        return shown(self.name)

    @property
    def stamp(self) -> str:
        """That of the shard, and the name."""
        return f"{self.shard_stamp} {self.name}"

    @property
    def shard(self) -> str:
        """Name of the shard."""
        return self.shard_name


@dataclass(frozen=True)
class StoredMember(Member):
    """An image in a shard that is not packed: its bytes lie in one piece in the file.

    The file is opened for each reading, as that of an image of its own is, so any process may hold and read it.

    Attributes:
        offset: of its first byte in the shard.
        num_bytes: its length.
    """

    offset: int
    num_bytes: int

    @property
    def place(self) -> str:
        """The path of the shard and the path in it, for messages."""
        return shown(f"{self.path}/{self.name.removeprefix(f'{self.shard_name}/')}")

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Opens the image for reading.

        Raises:
            ImageReadError: the shard cannot be read.
        """
        try:
            with open_regular(self.path) as file:
                yield io.BufferedReader(_Window(file, self.offset, self.num_bytes))
        except FileReadError as error:
            raise ImageReadError(f"{self.place}: {str(error).removeprefix(f'{shown(self.path)}: ')}") from None

    def read(self) -> bytes:
        """The bytes of the image.

        Raises:
            ImageReadError: the shard cannot be read, or ends before.
        """
        with self.open() as file:
            data = file.read()
        if len(data) < self.num_bytes:
            raise ImageReadError(f"{self.place}: the shard ends within it; it has changed since it was listed")
        return data


class _Window(io.RawIOBase):
    """A piece of an open file, as a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, num_bytes: int) -> None:
        self._file = file
        self._offset = offset
        self._num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        """Yes; see io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """Yes; see io.RawIOBase."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a position; see io.RawIOBase."""
        position = offset + (0, self._position, self._num_bytes)[whence]
        if position < 0:
            raise OSError("a position before the first byte")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as there are bytes; see io.RawIOBase."""
        wanted = max(0, min(len(buffer), self._num_bytes - self._position))
        self._file.seek(self._offset + self._position)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
