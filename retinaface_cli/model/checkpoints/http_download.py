"""Downloading one file over HTTP: whole or not at all, going on where an earlier attempt was cut off."""

from __future__ import annotations

import errno
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from retinaface_cli.errors import CheckpointError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

ProgressCallback = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes in all; None where the server does not say."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0
_MAX_ATTEMPTS = 10


class _ConnectionLostError(Exception):
    """The server or the way to it failed in the middle; another attempt may help."""


@dataclass(frozen=True)
class _Partial:
    """What an earlier attempt left behind.

    Attributes:
        path: the bytes so far.
        validator_path: the server's name for the version that they belong to.
    """

    path: Path
    validator_path: Path

    @property
    def num_bytes(self) -> int:
        """Bytes that can be kept: none if it is not known of which version they are."""
        return self.path.stat().st_size if self.path.is_file() and self.validator_path.is_file() else 0

    def discard(self) -> None:
        """Removes all of it."""
        self.path.unlink(missing_ok=True)
        self.validator_path.unlink(missing_ok=True)


def download(
    address: str, path: Path, *, sha256: str | None = None, on_progress: ProgressCallback | None = None
) -> Path:
    """Downloads a file to `path`, unless it is there.

    The bytes go to `<path>.part` beside it, which a later call goes on with, and become `path` when all are there
    and their hash is right. A lock lets other processes wait for the one that downloads.

    Args:
        address: http, https or file.
        path: where the file is to be.
        sha256: in hexadecimal; None: not checked.
        on_progress: see ProgressCallback.

    Returns:
        `path`.

    Raises:
        CheckpointError: with the address, what went wrong, and whether anything is kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(path.name + ".lock")):
            if not path.is_file():
                partial = _Partial(path.with_name(path.name + ".part"), path.with_name(path.name + ".part.version"))
                _download_whole(address, partial, on_progress)
                _check_sha256(address, partial, sha256)
                partial.path.replace(path)
                partial.discard()
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}); choose another folder with RETINAFACE_CACHE"
        ) from None
    return path


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _download_whole(address: str, partial: _Partial, on_progress: ProgressCallback | None) -> None:
    """Attempts until everything is there, as long as each attempt changes what is there."""
    for number in range(1, _MAX_ATTEMPTS + 1):
        before = partial.num_bytes
        try:
            _attempt(address, partial, on_progress)
        except _ConnectionLostError as lost:
            now = partial.num_bytes
            if now == before or number == _MAX_ATTEMPTS:
                kept = f"; {now} bytes are kept, run it again to go on" if now else ""
                raise CheckpointError(f"{address}: {lost}{kept}") from None
        else:
            return


def _attempt(address: str, partial: _Partial, on_progress: ProgressCallback | None) -> None:
    """One request for what is still missing, appended to the partial file."""
    with _open(address, partial) as response:
        if response.headers.get_content_type() == "text/html":
            raise CheckpointError(f"{address}: the server sent a web page instead of the file; a proxy's, perhaps")
        resumes = getattr(response, "status", None) == http.client.PARTIAL_CONTENT
        if not resumes:
            partial.discard()
        _remember_version(response, partial)
        done = partial.path.stat().st_size if resumes else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length is not None else None
        with partial.path.open("ab") as stream:
            for chunk in _read_chunks(response):
                stream.write(chunk)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done, total)
    if total is not None and done < total:
        raise _ConnectionLostError(f"the connection was cut after {done} of {total} bytes")


@contextmanager
def _open(address: str, partial: _Partial) -> Iterator[Any]:
    """The server's answer to a request for the bytes that are missing, or for all where nothing can be kept."""
    request = urllib.request.Request(address, headers={"User-Agent": "retinaface-cli"})
    if partial.num_bytes:
        request.add_header("Range", f"bytes={partial.num_bytes}-")
        request.add_header("If-Range", partial.validator_path.read_text(encoding="utf-8"))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            partial.discard()
            raise _ConnectionLostError("the server refused to go on with what was there") from None
        raise CheckpointError(f"{address}: the server answered {error.code} {error.reason}") from None
    except (urllib.error.URLError, TimeoutError, http.client.HTTPException) as error:
        raise _ConnectionLostError(f"no connection ({getattr(error, 'reason', None) or error})") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{address}: cannot be opened ({error})") from None
    with response:
        yield response


def _read_chunks(response: Any) -> Iterator[bytes]:
    """The body of the answer; every fault of the connection becomes _ConnectionLostError."""
    while True:
        try:
            chunk = response.read(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _ConnectionLostError(f"the connection was lost ({error or type(error).__name__})") from None
        if not chunk:
            return
        yield chunk


def _remember_version(response: Any, partial: _Partial) -> None:
    """Stores what tells this version of the file from others; weak tags may not be used for ranges (RFC 9110)."""
    tag = response.headers.get("ETag")
    version = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    if version:
        partial.validator_path.write_text(version, encoding="utf-8")


def _check_sha256(address: str, partial: _Partial, sha256: str | None) -> None:
    if sha256 is None:
        return
    found = sha256_of(partial.path)
    if found != sha256:
        partial.discard()
        raise CheckpointError(f"{address}: not the published file: sha256 {found}, wanted {sha256}; nothing was kept")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock, and holds it for the block; a killed process lets go of it."""
    with path.open("ab") as stream:
        _lock(stream)
        yield


def _lock(stream: IO[bytes]) -> None:
    """Locks an open file until it is closed."""
    if sys.platform == "win32":
        stream.seek(0)
        while True:
            try:
                msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLK:  # LK_LOCK gives up after ten seconds
                    raise
            else:
                return
    else:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
