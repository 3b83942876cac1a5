"""`infer` on cameras and streams; videos on the disk stand in for them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from retinaface_cli.data import video
from retinaface_cli.data.video import is_stream
from retinaface_cli.errors import ImageReadError, SettingsError
from retinaface_cli.formats import read_predictions
from tests.conftest import REPOSITORY
from tests.golden.golden import read_image

ASTRONAUT = REPOSITORY / "examples" / "images" / "astronaut.jpg"
NUM_FRAMES = 4


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A camera 0 and a stream that show a face NUM_FRAMES times; the list holds what was opened."""
    monkeypatch.chdir(tmp_path)
    image = cv2.resize(read_image(ASTRONAUT), (256, 256))
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10, (256, 256))
    for _ in range(NUM_FRAMES):
        writer.write(image)
    writer.release()
    opened: list[Any] = []
    real = cv2.VideoCapture

    def open_capture(name: Any) -> Any:
        if isinstance(name, str) and "://" not in name:
            return real(name)
        opened.append(name)
        return real(str(film) if name in (0, "rtsp://me:secret@host/door") else "none")

    monkeypatch.setattr(cv2, "VideoCapture", open_capture)
    return opened


def infer(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["infer", *arguments, "--max-size", "256"], catch_exceptions=True)


def test_faces_come_as_json_lines_and_as_a_drawn_video(camera: list[Any]) -> None:
    result = infer("0", "-o", "out", "--visualize")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(line["annotations"]) for line in lines] == [1] * NUM_FRAMES
    assert len({line["file_name"] for line in lines}) == NUM_FRAMES
    assert Path("out/predictions.jsonl").read_text() == result.stdout
    assert read_predictions(Path("out")).num_faces.tolist() == [1] * NUM_FRAMES
    assert len(list(video.read_frames(Path("out/viz/stream.mp4")))) == NUM_FRAMES
    assert camera[0] == 0


def test_with_json_the_lines_are_in_the_file_alone(camera: list[Any]) -> None:
    result = infer("rtsp://me:secret@host/door", "-o", "out", "--json")
    assert json.loads(result.stdout)["num_faces"] == NUM_FRAMES
    assert len(Path("out/predictions.jsonl").read_text().splitlines()) == NUM_FRAMES
    assert "secret" not in result.stderr and "rtsp://...@host/door" in result.stderr
    assert camera == ["rtsp://me:secret@host/door"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_stream_and_keeps_all_results(
    camera: list[Any], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = video.Stream.frames

    def interrupted(self: video.Stream) -> Any:
        for index, frame in enumerate(original(self)):
            if index == 1:
                os.kill(os.getpid(), number)
            yield frame

    monkeypatch.setattr(video.Stream, "frames", interrupted)
    before = signal.getsignal(number)
    result = infer("0", "-o", "out", "--visualize")
    assert result.exit_code == 0, result.output
    assert len(Path("out/predictions.jsonl").read_text().splitlines()) == 2
    assert len(list(video.read_frames(Path("out/viz/stream.mp4")))) == 2
    assert signal.getsignal(number) is before and camera


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (["7"], ImageReadError, "camera 7: cannot be opened; is one connected"),
        (["rtsp://u:secret@nowhere/x"], ImageReadError, "rtsp://...@nowhere/x: cannot be opened; check address"),
        (["0", "film.avi"], SettingsError, "read alone"),
        (["0", "--html"], SettingsError, "html: is for files, not for a camera"),
        (["0", "--devices", "2"], SettingsError, "devices: a camera or stream is read by one process"),
    ],
)
def test_what_cannot_be_is_one_error_and_writes_nothing(
    camera: list[Any], arguments: list[str], kind: type[Exception], message: str
) -> None:
    result = infer(*arguments)
    assert isinstance(result.exception, kind) and message in str(result.exception)
    assert "secret" not in str(result.exception)
    assert not Path("runs").exists()
    assert len(camera) <= 1


def test_a_file_whose_name_is_a_number_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_stream("0") and is_stream("RTSP://host/x")
    Path("0").mkdir()
    assert not is_stream("0") and not is_stream("1999") and not is_stream("https://host/x.jpg") and not is_stream("a/0")
