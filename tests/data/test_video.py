from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.data.video import VideoWriter, read_frames
from retinaface_cli.errors import ImageReadError

PLAYLIST = "ffconcat version 1.0\nfile private.mp4\n"


def write_motion_jpeg(path: Path, num_frames: int) -> bytes:
    """A video of noise, each frame on its own; its bytes."""
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 64))
    random = np.random.default_rng(0)
    for _ in range(num_frames):
        video.write(random.integers(0, 255, (64, 96, 3), dtype=np.uint8))
    video.release()
    return path.read_bytes()


def write_mp4(path: Path, num_frames: int) -> bytes:
    """A video of noise as `infer --visualize` writes it; its bytes."""
    random = np.random.default_rng(0)
    with VideoWriter(path, frame_rate=10) as video:
        for _ in range(num_frames):
            video.write(random.integers(0, 255, (64, 96, 3), dtype=np.uint8))
    return path.read_bytes()


def read_until_error(path: Path) -> tuple[int, str]:
    """Number of frames that come, and the error behind them, empty for none."""
    num_frames = 0
    try:
        for _ in read_frames(path):
            num_frames += 1
    except ImageReadError as error:
        return num_frames, str(error)
    return num_frames, ""


def zero_the_middle(data: bytes) -> bytes:
    """The same with the bytes from a third to a half lost."""
    start, end = len(data) // 3, len(data) // 2
    return data[:start] + bytes(end - start) + data[end:]


def test_a_whole_video_gives_the_frames_of_its_header_and_no_error(tmp_path: Path) -> None:
    write_motion_jpeg(tmp_path / "whole.avi", 40)
    write_mp4(tmp_path / "whole.mp4", 40)
    assert read_until_error(tmp_path / "whole.avi") == (40, "")
    assert read_until_error(tmp_path / "whole.mp4") == (40, "")


def test_a_video_that_is_cut_short_gives_its_frames_and_then_says_so(tmp_path: Path) -> None:
    data = write_motion_jpeg(tmp_path / "whole.avi", 40)
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2])
    num_frames, error = read_until_error(tmp_path / "cut.avi")
    assert 15 <= num_frames <= 25
    assert f"ends after {num_frames} of the 40 frames" in error


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_with_a_hole_says_how_many_frames_are_missing(tmp_path: Path, suffix: str) -> None:
    write = write_motion_jpeg if suffix == ".avi" else write_mp4
    data = write(tmp_path / f"whole{suffix}", 40)
    path = tmp_path / f"hole{suffix}"
    path.write_bytes(zero_the_middle(data))
    num_frames, error = read_until_error(path)
    assert 0 < num_frames < 40
    assert f"ends after {num_frames} of the 40 frames" in error


def test_a_play_list_under_the_name_of_a_video_is_not_followed(tmp_path: Path) -> None:
    write_mp4(tmp_path / "private.mp4", 3)
    path = tmp_path / "list.mp4"
    path.write_text(PLAYLIST)
    num_frames, error = read_until_error(path)
    assert num_frames == 0
    assert "not a video" in error


@pytest.mark.parametrize("comment", ["# ü\n".encode(), b"# \xff\n", b"#\0\n"], ids=["utf-8", "latin-1", "nul"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_play_list_with_other_bytes_is_not_followed_either(tmp_path: Path, suffix: str, comment: bytes) -> None:
    write_mp4(tmp_path / "private.mp4", 3)
    path = tmp_path / f"list{suffix}"
    path.write_bytes(PLAYLIST.encode().replace(b"\n", b"\n" + comment, 1))
    num_frames, error = read_until_error(path)
    assert (num_frames, bool(error)) == (0, True)


def test_a_pipe_or_a_device_is_not_read_as_a_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    assert "is a pipe; expected a file" in read_until_error(tmp_path / "pipe.mp4")[1]
    assert "is a device; expected a file" in read_until_error(tmp_path / "zero.mp4")[1]
