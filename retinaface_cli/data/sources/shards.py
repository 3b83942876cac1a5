"""Tar files of images, as WebDataset has them: read from front to back, without unpacking."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from retinaface_cli.data.sources.files import MemberBytes, Source, SourceItem
from retinaface_cli.data.sources.members import Member, StoredMember
from retinaface_cli.errors import FileReadError, ImageReadError, count_of, reason_of
from retinaface_cli.files.addresses import open_anywhere, stamp_of_address
from retinaface_cli.files.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Problem
from retinaface_cli.files.manifest import stamp_of
from retinaface_cli.files.names import UNPRINTABLE, UNPRINTABLE_NAME

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")

MAX_MEMBER_BYTES = 1 << 28
"""Largest image that is read from a shard; several are in memory at the same time."""

_MAX_EXTENDED_BYTES = 1 << 16
"""Largest extended header, which is read as a whole; it holds a long name."""

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_BLOCK = 1 << 18
_HEADER_BLOCK = 1 << 10
_GZIP_START = b"\x1f\x8b"
_ENDS_WITHIN = "it ends within an image"
_PACKED = "is packed, and its images cannot be read in any order; unpack it to a .tar file first, e.g. with gunzip"
_BROKEN = (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError, RecursionError)
"""What reading a tar file of any content may raise."""

Item = TypeVar("Item")


def is_shard(name: str) -> bool:
    """Whether a name ends as a shard's does."""
    return name.lower().endswith(SHARD_SUFFIXES)


@dataclass(frozen=True)
class Shard(Source):
    """A tar file of images, `.tar` or `.tar.gz`."""

    @property
    def is_video(self) -> bool:
        """No."""
        return False

    @property
    def stamp(self) -> str:
        """What tells it from another: path, size and time, or address, size and version as far as the server says."""
        return stamp_of_address(self.address) if self.address else stamp_of(self.path)

    def items(self) -> Iterator[SourceItem]:
        """The images in the shard in its order, each with its bytes; other files are passed over.

        Links, devices, videos, members that are too large and a second member of one name are problems, and so is a
        shard that cannot be opened or breaks off; what stands before the break comes.
        """
        stamp = self.stamp
        yield from self._each_image(
            lambda stream, member: MemberBytes(
                Member(self.path, self._name_of(member), self.name, stamp),
                stream.read_at(member.offset_data, member.size),
            )
        )

    def list_members(self) -> Iterator[StoredMember | Problem]:
        """Where the images lie in the shard, in its order, with the problems of `items`; its headers alone are read.

        Raises:
            ImageReadError: the shard is packed.
        """
        stamp = self.stamp
        yield from self._each_image(
            lambda stream, member: StoredMember(
                *(self.path, self._name_of(member), self.name, stamp),
                offset=stream.check_end(member.offset_data, member.size),
                num_bytes=member.size,
            ),
            is_random_access=True,
        )

    def _name_of(self, member: tarfile.TarInfo) -> str:
        return f"{self.name}/{member.name}"

    def _each_image(
        self, make: Callable[[_ForwardStream, tarfile.TarInfo], Item], *, is_random_access: bool = False
    ) -> Iterator[Item | Problem]:
        """What is made of each image in the shard, and what cannot be used."""
        names: set[str] = set()
        num_images = 0
        try:
            with open_anywhere(self.location) as file:
                stream = _ForwardStream(file, block=_HEADER_BLOCK if is_random_access else _BLOCK)
                if is_random_access and stream.is_packed:
                    raise ImageReadError(f"{self.place}: {_PACKED}")
                for member in _members(stream):
                    suffix = os.path.splitext(member.name)[1].lower()  # noqa: PTH122
                    if (suffix not in IMAGE_SUFFIXES and suffix not in VIDEO_SUFFIXES) or member.isdir():
                        continue
                    reason = _find_fault(member, suffix, is_repeated=member.name in names)
                    names.add(member.name)
                    if reason:
                        yield Problem(self._name_of(member), reason)
                    else:
                        yield make(stream, member)
                        num_images += 1
        except (*_BROKEN, FileReadError) as error:
            reason = reason_of(error).removeprefix(f"{self.place}: ")
            yield Problem(self.name, f"the shard breaks off after {count_of(num_images, 'image')}: {reason}")


def _find_fault(member: tarfile.TarInfo, suffix: str, *, is_repeated: bool) -> str:
    """Why a member of an image's or video's ending cannot be used; nothing where it can."""
    if not member.isreg():
        return "is a link or device in the shard; expected a file"
    if suffix in VIDEO_SUFFIXES:
        return "videos are not read from shards; unpack it"
    if UNPRINTABLE.search(member.name):
        return UNPRINTABLE_NAME
    if member.issparse() or member.size > MAX_MEMBER_BYTES:
        return f"takes more than {MAX_MEMBER_BYTES:,} bytes, the most that is read from a shard, or is a sparse file"
    return "a second member of this name in the shard" if is_repeated else ""


def _members(stream: _ForwardStream) -> Iterator[tarfile.TarInfo]:
    """The headers of a tar file.

    Raises:
        tarfile.TarError: a header is broken, or the file ends before its end mark.
    """
    with tarfile.TarFile(fileobj=stream, mode="r", tarinfo=_Header, encoding="utf-8") as tar:  # type: ignore[arg-type]
        while (member := tar.next()) is not None:
            yield member
            # what tarfile keeps to find members by their names would grow without end
            tar.members.clear()  # type: ignore[attr-defined]
            tar.pax_headers = {}
    if stream.last_block != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("a broken header" if stream.last_block else "it ends without an end mark")


class _Header(tarfile.TarInfo):
    """A header whose extensions are of a moderate size."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Refuses what would fill the memory; this is where tarfile lets a subclass step in."""
        is_too_large = self.type in _EXTENDED and self.size > _MAX_EXTENDED_BYTES
        if self.size < 0 or is_too_large or self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"a header of kind {self.type!r} with {self.size:,} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]

    def _proc_gnusparse_10(self, *_: Any) -> None:
        """Refuses the map of a sparse file, which may have any length."""
        raise tarfile.ReadError("a sparse file")


class _ForwardStream:
    """The unpacked bytes of a tar file, read once from front to back, as tarfile needs them.

    Attributes:
        last_block: what was read last where a header was wanted.
        is_packed: whether the file is packed.
    """

    def __init__(self, file: BinaryIO, *, block: int) -> None:
        is_seekable = file.seekable()
        self._num_bytes = file.seek(0, os.SEEK_END) if is_seekable else 0
        if is_seekable:
            file.seek(0)
        buffered = io.BufferedReader(file, block)  # type: ignore[type-var]
        self.is_packed = buffered.peek(2).startswith(_GZIP_START)
        self._file: BinaryIO = gzip.GzipFile(fileobj=buffered) if self.is_packed else buffered  # type: ignore[assignment]
        self._skips = is_seekable and not self.is_packed
        self._position = 0
        self.last_block = b""

    def tell(self) -> int:
        """Position in the unpacked bytes."""
        return self._position

    def seek(self, position: int) -> int:
        """Reads on to a position.

        Raises:
            tarfile.ReadError: it lies before what was read.
        """
        if position < self._position:
            raise tarfile.ReadError("a header with a negative size")
        if self._skips:
            self._position = self._file.seek(position)
        while (missing := position - self._position) > 0:
            if not (skipped := self._file.read(min(missing, _BLOCK))):
                break
            self._position += len(skipped)
        return self._position

    def check_end(self, position: int, size: int) -> int:
        """The position, if a file of this machine that is not packed has so many bytes there.

        Raises:
            tarfile.ReadError: it ends before.
        """
        if position + size > self._num_bytes:
            raise tarfile.ReadError(_ENDS_WITHIN)
        return position

    def read(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        data = self._file.read(size) or b""
        self._position += len(data)
        if size == tarfile.BLOCKSIZE:
            self.last_block = data
        return data

    def read_at(self, position: int, size: int) -> bytes:
        """The bytes of a member.

        Raises:
            tarfile.ReadError: the file ends before.
        """
        self.seek(position)
        last_block = self.last_block
        data = self.read(size)
        self.last_block = last_block
        if len(data) < size:
            raise tarfile.ReadError(_ENDS_WITHIN)
        return data
