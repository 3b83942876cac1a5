"""Frames of video files, in and out."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2

from retinaface_cli.errors import ImageReadError, OutputError, shown
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.reading import open_regular

_DEFAULT_FRAME_RATE = 25.0

_STREAM_SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "udp://", "srt://")
_MAX_CAMERA_DIGITS = 3
_PASSWORD = re.compile(r"//[^/@]*@")

_HEAD_BYTES = 20
"""Enough for the first line of a play list; containers begin with other bytes, but for AVI's letters RIFF."""

_MISSING_PART = 0.02
"""Headers state the number of frames from duration and rate; so many may be missing by that."""


def read_frames(path: Path) -> Iterator[RgbImage]:
    """The frames of a video, (H, W, 3) uint8 RGB each, in order.

    Raises:
        ImageReadError: the file cannot be opened, is a text such as a play list, not one frame can be decoded, or
            it ends before the number of frames that its header states; then after the frames that could be read.
    """
    _check_no_text(path)
    capture = cv2.VideoCapture(str(path))
    num_read = 0
    try:
        stated = int(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        for frame in _decode(capture):
            num_read += 1
            yield frame
    finally:
        capture.release()
    if not num_read:
        raise ImageReadError(f"{shown(path)}: not a video that can be decoded, or a broken one")
    if num_read + 1 < stated * (1 - _MISSING_PART):
        raise ImageReadError(f"{shown(path)}: ends after {num_read} of the {stated} frames that its header states")


def _decode(capture: cv2.VideoCapture) -> Iterator[RgbImage]:
    """The frames that are left, (H, W, 3) uint8 RGB each."""
    read, frame = capture.read()
    while read:
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # type: ignore[misc]
        read, frame = capture.read()


def _check_no_text(path: Path) -> None:
    """Raises ImageReadError for a text, by which a player would be led to other files."""
    with open_regular(path, error=ImageReadError) as file:
        head = file.read(_HEAD_BYTES)
    line = head.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n")[0]
    if line and not head.startswith(b"RIFF") and all(byte in b"\t\r" or 32 <= byte < 127 for byte in line):
        raise ImageReadError(f"{shown(path)}: is a text, not a video")


def frame_rate(path: Path) -> float:
    """Frames a second that the file states, 25 where it states none."""
    capture = cv2.VideoCapture(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_FRAME_RATE
    finally:
        capture.release()


def is_stream(name: str) -> bool:
    """Whether an input is the number of a camera, or the address of a stream of video."""
    if name.isascii() and name.isdecimal():
        return len(name) <= _MAX_CAMERA_DIGITS and not Path(name).exists()
    return name.lower().startswith(_STREAM_SCHEMES)


class Stream:
    """A camera or network stream; a context manager.

    Attributes:
        name: for messages; without the password of an address.
        frame_rate: frames a second, as stated.
    """

    def __init__(self, name: str) -> None:
        """Opens the camera of a number, or the stream of an address.

        Raises:
            ImageReadError: it cannot be opened.
        """
        is_camera = name.isdecimal()
        self.name = f"camera {name}" if is_camera else shown(_PASSWORD.sub("//...@", name))
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # of each way to open it that fails
        try:
            self._capture = cv2.VideoCapture(int(name) if is_camera else name)
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not self._capture.isOpened():
            advice = "is one connected, and does no other program use it?" if is_camera else "check address and network"
            raise ImageReadError(f"{self.name}: cannot be opened; {advice}")
        self.frame_rate = self._capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_FRAME_RATE

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.release()

    def frames(self) -> Iterator[RgbImage]:
        """The frames as they come, (H, W, 3) uint8 RGB each, until the stream ends.

        Raises:
            ImageReadError: not one comes.
        """
        is_empty = True
        for frame in _decode(self._capture):
            is_empty = False
            yield frame
        if is_empty:
            raise ImageReadError(f"{self.name}: gives no image")


class VideoWriter:
    """An .mp4 being written; a context manager."""

    def __init__(self, path: Path, *, frame_rate: float) -> None:
        self._path = path
        self._frame_rate = frame_rate
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, frame: RgbImage) -> None:
        """Appends a frame (H, W, 3) uint8 RGB; all must have the size of the first."""
        if self._writer is None:
            size = (frame.shape[1], frame.shape[0])
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), codec, self._frame_rate, size)
            if not self._writer.isOpened():
                raise OutputError(f"{shown(self._path)}: this OpenCV cannot write mp4 videos")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
