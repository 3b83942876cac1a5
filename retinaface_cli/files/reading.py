"""Reading of files: regular ones only, within bounds, text (and JSON and YAML) in the encodings that people have."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import orjson

from retinaface_cli.errors import FileReadError, RetinaFaceError, reason_of, shown

MAX_TEXT_BYTES = 1 << 30
"""Bound of text files, unpacked; the largest label files in use (COCO) hold less than half of it."""

_MAX_YAML_BYTES = 1 << 24
"""Bound of a YAML file; settings take a few thousand bytes."""

_GZIP_START = b"\x1f\x8b"
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding; UTF-32 first, since its mark begins with that of UTF-16."""

_NOT_STRICT_JSON = re.compile(rb"NaN|Infinity|\\u[dD][89a-fA-F]")
"""What Python's own JSON writer leaves in files, and orjson refuses."""


@contextmanager
def open_regular(path: Path, *, error: type[RetinaFaceError] = FileReadError) -> Iterator[BinaryIO]:
    """Opens a regular file for reading bytes; a pipe, device, socket or folder is refused without waiting for it.

    Errors of reading inside the block become `error`, too.

    Raises:
        error: missing, not permitted, no regular file, or a name that no file can have.
    """
    try:
        with _open(path, error) as file:
            yield file
    except (OSError, EOFError, zlib.error, UnicodeError) as problem:
        raise error(f"{shown(path)}: cannot be read ({reason_of(problem)})") from None


def _open(path: Path, error: type[RetinaFaceError]) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        _check_regular(path.stat().st_mode, path, error)  # before opening, which alone can set off a device
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as problem:  # a NUL, or a character that no name can have
        raise error(f"{shown(path)}: cannot be a file's name ({problem})") from None
    try:
        _check_regular(os.fstat(file.fileno()).st_mode, path, error)
    except BaseException:
        file.close()
        raise
    return file


def _check_regular(mode: int, path: Path, error: type[RetinaFaceError]) -> None:
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise error(f"{shown(path)}: is a {kinds.get(stat.S_IFMT(mode), 'device')}; expected a file")


def read_bytes(
    path: Path, *, max_bytes: int, unpack: bool = False, error: type[RetinaFaceError] = FileReadError
) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        max_bytes: bound of the content; of the unpacked one where it is unpacked.
        unpack: whether gzip is unpacked.
        error: the kind of error to raise.

    Raises:
        error: it cannot be read, or holds more.
    """
    with open_regular(path, error=error) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise error(_too_large(path, max_bytes))
        if unpack:
            return _unpacked(file, path, max_bytes=max_bytes, error=error).read()
        data = file.read(size + 1)  # at once, and not with a buffer for max_bytes
        if data is not None and len(data) > size:  # it grows, or its system does not tell its size
            data += file.read(max_bytes - size)
        if data is None or len(data) > max_bytes:  # None: nothing yet, in a file that is not on a disk
            raise error(_too_large(path, max_bytes))
        return data


def read_utf8(path: Path, *, max_bytes: int = MAX_TEXT_BYTES, error: type[RetinaFaceError] = FileReadError) -> bytes:
    """A text file, unpacked if it is gzipped, as UTF-8 without a byte order mark.

    UTF-8, and UTF-16 and UTF-32 with a byte order mark, are known; anything else is read as Windows-1252.

    Raises:
        error: it cannot be read, unpacked or decoded, or holds more than `max_bytes`.
    """
    data = read_bytes(path, max_bytes=max_bytes, unpack=True, error=error)
    encoding = encoding_of(data)
    if encoding == "utf-8-sig":
        data = data[len(codecs.BOM_UTF8) :]
    elif encoding != "utf-8":
        try:
            return data.decode(encoding).encode()
        except UnicodeError as problem:
            raise error(f"{shown(path)}: broken {encoding.upper()} text ({reason_of(problem)})") from None
    try:
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError:
        return _decode_western(data).encode()
    return data


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES, error: type[RetinaFaceError] = FileReadError) -> str:
    """A text file; see read_utf8. Line ends are kept as they are."""
    return read_utf8(path, max_bytes=max_bytes, error=error).decode()


@contextmanager
def open_text(
    path: Path, *, max_bytes: int = MAX_TEXT_BYTES, error: type[RetinaFaceError] = FileReadError
) -> Iterator[TextIO]:
    r"""Opens a text file for reading line by line, in the encodings of read_utf8, without holding it in memory.

    Line ends come as `\n`. Bytes that are no UTF-8 come as surrogates; `without_surrogates` makes text of them.
    """
    with open_regular(path, error=error) as file:
        stream = _unpacked(file, path, max_bytes=max_bytes, error=error)
        encoding = encoding_of(stream.peek(4))
        yield io.TextIOWrapper(stream, encoding=encoding, errors=None if "16" in encoding else "surrogateescape")


def read_json(path: Path, *, max_bytes: int = MAX_TEXT_BYTES, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of a JSON file in any encoding of read_utf8.

    Raises:
        error: it cannot be read, or is not JSON; then with the line.
    """
    return parse_json(read_utf8(path, max_bytes=max_bytes, error=error), place=shown(path), error=error)


def parse_json(data: bytes, *, place: str, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of JSON text in UTF-8; NaN, Infinity and lone surrogates are taken as Python's own reader does."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as problem:
        line, reason = problem.lineno, problem.msg
    if _NOT_STRICT_JSON.search(data):
        import json

        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass
    raise error(f"{place}:{line}: not JSON ({shown(reason)})")


def read_yaml_file(path: Path, *, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of a YAML file in any encoding of read_utf8; None for an empty one.

    Raises:
        error: it cannot be read, or is not YAML.
    """
    return parse_yaml(read_text(path, max_bytes=_MAX_YAML_BYTES, error=error), place=shown(path), error=error)


def parse_yaml(text: str, *, place: str, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of YAML text.

    Raises:
        error: it is not YAML; the message begins with `place`.
    """
    import yaml  # slow to import, and seldom needed

    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise error(f"{place}: not valid YAML: nested too deeply") from None
    except Exception as problem:  # PyYAML lets errors of all kinds through where a value does not fit its tag
        reason = " ".join(str(problem)[:1000].split())
        raise error(f"{place}: not valid YAML: {shown(reason)}") from None


def encoding_of(start: bytes) -> str:
    """The encoding that the first bytes of a text announce; UTF-8 where they say nothing."""
    return next((name for mark, name in _ENCODINGS.items() if start.startswith(mark)), "utf-8")


def without_surrogates(text: str) -> str:
    """The text, with bytes that were no UTF-8 (and came as surrogates) read as Windows-1252."""
    if text.isascii():
        return text
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decode_western(data)


def _decode_western(data: bytes) -> str:
    """Windows-1252, or Latin-1 where a byte has no meaning in it."""
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unpacked(file: BinaryIO, path: Path, *, max_bytes: int, error: type[RetinaFaceError]) -> io.BufferedReader:
    """The content of an open file as a stream that ends with an error behind `max_bytes`."""
    is_packed = file.read(2) == _GZIP_START
    file.seek(0)
    stream: Any = gzip.GzipFile(fileobj=file) if is_packed else file
    num_left = max_bytes

    def read(count: int) -> bytes:
        """The next bytes, as long as they stay within the bound."""
        nonlocal num_left
        data: bytes = stream.read(count) or b""
        num_left -= len(data)
        if num_left < 0:
            raise error(_too_large(path, max_bytes))
        return data

    return io.BufferedReader(ReadStream(read), 1 << 18)


class ReadStream(io.RawIOBase):
    """A stream that is read by a function, which gives so many bytes or fewer, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        """Yes; see io.RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as bytes have come; see io.RawIOBase."""
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _too_large(path: Path, max_bytes: int) -> str:
    return f"{shown(path)}: holds more than {max_bytes:,} bytes (unpacked), the most that is read of such a file"
