"""Frames of video files, in and out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from retinaface_cli.data.preprocessing import RgbImage
from retinaface_cli.errors import ImageReadError, RetinaFaceError

_DEFAULT_FRAME_RATE = 25.0


def read_frames(path: Path) -> Iterator[RgbImage]:
    """The frames of a video, (H, W, 3) uint8 RGB each, in order.

    Raises:
        ImageReadError: the file cannot be opened, or not one frame can be decoded.
    """
    capture = cv2.VideoCapture(str(path))
    try:
        read, frame = capture.read()
        if not read:
            raise ImageReadError(f"{path}: not a video that can be decoded, or a broken one")
        while read:
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[misc]
            read, frame = capture.read()
    finally:
        capture.release()


def frame_rate(path: Path) -> float:
    """Frames a second that the file states, 25 where it states none."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_FRAME_RATE
    finally:
        capture.release()


class VideoFile:
    """An .mp4 being written; it appears under its name when it is closed."""

    def __init__(self, path: Path, *, frame_rate: float) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.stem}.part{path.suffix}")
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None

    def write(self, frame: RgbImage) -> None:
        """Appends a frame (H, W, 3) uint8 RGB; all must have the size of the first."""
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            size = (frame.shape[1], frame.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._partial), codec, self._frame_rate, size)
            if not self._writer.isOpened():
                raise RetinaFaceError(f"{self._path}: this OpenCV cannot write mp4 videos")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    def close(self, *, keep: bool = True) -> None:
        """Ends the file and gives it its name, or removes it."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink()
