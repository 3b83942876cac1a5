"""Published weights from their publisher, or a mirror, into the cache folder: whole, and checked before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch

from retinaface_cli.errors import CheckpointError, reason_of, shown
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_weights
from retinaface_cli.model.checkpoints.published import PublishedWeights

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all; 0 in all where the server does not say."""

_TIMEOUT_SECONDS = 30


def fetch_weights(weights: PublishedWeights, *, on_progress: ProgressCallback | None = None) -> Path:
    """The file of published weights, downloaded into the cache folder unless it is there already.

    A file enters the cache folder whole, under its name, after it has been checked: its sha256 where that is known,
    and that it holds weights of the family and backbone that are expected. Each process writes to a file of its own.

    Raises:
        CheckpointError: no connection, a file that is not what was published, or no place to write. The message says
            how to fetch the file by hand.
    """
    path = weights.path
    if path.is_file():
        try:
            _check(path, weights, str(path))
        except CheckpointError as error:
            raise CheckpointError(f"{error}; delete it to download it again") from None
        return path
    pooch.get_logger().setLevel("WARNING")  # what it says is said here
    try:
        pooch.retrieve(
            weights.address,
            known_hash=None,  # it is checked with the rest
            fname=path.name,
            path=path.parent,
            downloader=_CheckingDownloader(weights, on_progress),
        )
    except (CheckpointError, OSError, ValueError) as error:  # as which those of requests count
        raise CheckpointError(
            f"{weights.name}: cannot be fetched from {weights.address} ({_reason_of(error)}); nothing was kept\n"
            f"to fetch it by hand, download {weights.url}\nand put it at {path}"
        ) from None
    return path


def _reason_of(error: Exception) -> str:
    """Why a download failed; of a connection that failed the last of the reasons that requests joins."""
    text = str(error)
    return shown(text.rpartition("): ")[2].rstrip(")").rstrip("\"'")) if "Caused by" in text else reason_of(error)


class _CheckingDownloader:
    """What pooch calls to download into a temporary file, which takes its name if nothing is raised."""

    def __init__(self, weights: PublishedWeights, on_progress: ProgressCallback | None) -> None:
        self._weights = weights
        self._on_progress = on_progress

    def __call__(self, url: str, output_file: str, pooch_object: Any) -> None:
        """Downloads from http, https or file, and checks what came."""
        if urlsplit(url).scheme == "file":
            shutil.copyfile(url2pathname(urlsplit(url).path), output_file)
        else:
            progress = _Progress(self._on_progress) if self._on_progress else False
            pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 18, timeout=_TIMEOUT_SECONDS)(
                url, output_file, pooch_object
            )
        _check(Path(output_file), self._weights, "the answer")


class _Progress:
    """What pooch tells of a download."""

    def __init__(self, on_progress: ProgressCallback) -> None:
        self._on_progress = on_progress
        self.total = self._done = 0

    def update(self, num_bytes: int) -> None:
        """So many more bytes."""
        self._done += num_bytes
        self._on_progress(min(self._done, self.total or self._done), self.total)

    def reset(self) -> None:
        """From the start again."""
        self._done = 0

    def close(self) -> None:
        """All bytes have come."""


def _check(path: Path, weights: PublishedWeights, name: str) -> None:
    """Refuses a file, perhaps put there by hand, that is not the published one."""
    loaded = load_named(path, name)
    found = (loaded.family, loaded.network.backbone)
    if weights.sha256 not in (None, loaded.sha256):
        raise CheckpointError(f"{name}: not the published file: sha256 {loaded.sha256}, wanted {weights.sha256}")
    if found != (weights.family, weights.backbone):
        raise CheckpointError(f"{name}: not {weights.name}: found the weights of {' '.join(found)}")


def load_named(path: Path, name: str) -> LoadedWeights:
    """The weights in a file that messages call by another name.

    Raises:
        CheckpointError: see load_weights.
    """
    try:
        return load_weights(path)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(path), name, 1)) from None
