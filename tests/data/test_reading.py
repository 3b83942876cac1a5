from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from retinaface_cli.data import pixel_budget, preprocessing, reading
from retinaface_cli.data.preprocessing import TestScale, decode_rgb, load_rgb
from retinaface_cli.data.reading import Image, Loaded, UnreadableImage, batch_by_size, read_images
from retinaface_cli.data.sources import Source
from retinaface_cli.data.video import VideoWriter, frame_rate, read_frames
from retinaface_cli.errors import ImageReadError
from retinaface_cli.faces import RgbImage


def make_images(folder: Path, sizes: list[tuple[int, int]]) -> list[Source]:
    """Grey images of (height, width), named by their number."""
    sources = []
    for index, (height, width) in enumerate(sizes):
        path = folder / f"{index:03d}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), index, np.uint8))
        sources.append(Source(path, path.name))
    return sources


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_images_come_in_order_resized(tmp_path: Path, num_workers: int) -> None:
    sources = make_images(tmp_path, [(20, 40)] * 9)
    loaded = list(
        read_images(sources, TestScale(long_side=20), num_workers=num_workers, keep_original=num_workers == 1)
    )
    assert [image.name for image in loaded] == [source.name for source in sources]
    for index, image in enumerate(loaded):
        assert isinstance(image, Image)
        assert image.resized.shape == (10, 20, 3)
        assert (image.resized == index).all()
        assert (image.original is not None) == (num_workers == 1)


def test_an_image_that_would_be_too_large_in_the_network_comes_with_its_reason(tmp_path: Path) -> None:
    sources = make_images(tmp_path, [(8, 8), (8, 4000), (16, 8)])
    first, second, third = read_images(sources, TestScale(short_side=1600), num_workers=2, keep_original=False)
    assert isinstance(first, Image) and isinstance(third, Image)
    assert isinstance(second, UnreadableImage)
    assert second.reason == (
        "4000 x 8 pixels would be 800000 x 1600 in the network, which are too many; lower max_size or short_side"
    )


def test_a_image_that_cannot_be_read_comes_with_its_reason(tmp_path: Path) -> None:
    sources = make_images(tmp_path, [(8, 8), (8, 8)])
    sources[0].path.write_bytes(b"")
    first, second = read_images(sources, TestScale(), num_workers=2, keep_original=False)
    assert first == UnreadableImage(sources[0], "the file is empty")
    assert isinstance(second, Image)


def test_batches_hold_images_of_like_size_and_lose_none(tmp_path: Path) -> None:
    sizes = [(32, 64), (64, 64), (30, 60), (64, 64), (32, 64), (100, 10)]
    sources = make_images(tmp_path, sizes)
    images = read_images(sources, TestScale(), num_workers=1, keep_original=False)
    batches = [[loaded.name[:3] for loaded in batch] for batch in batch_by_size(images, 2)]
    assert batches == [["000", "002"], ["001", "003"], ["004"], ["005"]]


def test_few_images_wait_when_all_sizes_differ(tmp_path: Path) -> None:
    sources = make_images(tmp_path, [(32, 32 * (1 + index)) for index in range(40)])
    images = read_images(sources, TestScale(), num_workers=1, keep_original=False)
    taken = 0

    def counted() -> Iterator[Loaded]:
        nonlocal taken
        for image in images:
            taken += 1
            yield image

    next(batch_by_size(counted(), 2))
    assert taken <= 16


def test_frames_of_a_written_video_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, frame_rate=12.0) as video:
        for index in range(5):
            video.write(np.full((64, 96, 3), 40 * index, np.uint8))
    assert frame_rate(path) == pytest.approx(12.0)
    means = [float(frame.mean()) for frame in read_frames(path)]
    np.testing.assert_allclose(means, [0, 40, 80, 120, 160], atol=6)
    source = Source(path, "clip.mp4")
    loaded = list(read_images([source], TestScale(), num_workers=2, keep_original=False))
    assert [image.name for image in loaded] == [f"clip.mp4/{index:06d}" for index in range(5)]


def test_a_broken_video_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video")
    source = Source(path, "broken.mp4")
    (failure,) = read_images([source], TestScale(), num_workers=1, keep_original=False)
    assert isinstance(failure, UnreadableImage)
    assert "not a video" in failure.reason


class DecodedPixels:
    """Pixels that are being decoded, or were and are held, as the reader's decoder sees them; the most of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, num_pixels: int) -> None:
        self.most_at_once = 0
        self.most_held = 0
        self.is_over = threading.Event()
        self._now = 0
        self._held: list[weakref.ref[Any]] = []
        self._num_pixels = num_pixels
        self._bound = 2 * num_pixels
        self._lock = threading.Lock()
        self._meeting = threading.Event()
        monkeypatch.setattr(preprocessing, "decode_rgb", self)

    def __call__(self, data: bytes, **options: Any) -> RgbImage:
        with self._lock:
            self._now += self._num_pixels
            self.most_at_once = max(self.most_at_once, self._now)
            if self._now > self._num_pixels:
                self._meeting.set()
        self._meeting.wait(0.2)  # lets another thread come in, if it may
        image = decode_rgb(data, **options)
        with self._lock:
            self._now -= self._num_pixels
            self._held = [*(one for one in self._held if one() is not None), weakref.ref(image)]
            self.most_held = max(self.most_held, self._num_pixels * len(self._held))
            if self.most_held > self._bound:
                self.is_over.set()
        return image


def make_large_images(folder: Path, suffix: str, number: int) -> list[Source]:
    """Grey images of 150 x 180 pixels, which is more than the tests below allow at once."""
    sources = [Source(folder / f"{index}{suffix}", f"{index}{suffix}") for index in range(number)]
    for source in sources:
        assert cv2.imwrite(str(source.path), np.full((150, 180, 3), 90, np.uint8))
    return sources


SUFFIXES = [".png", ".jpg", ".webp", ".tiff", ".bmp", ".jp2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_large_images_are_decoded_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    monkeypatch.setattr(pixel_budget, "_UNKNOWN_PIXELS", 2_500)
    sources = make_large_images(tmp_path, suffix, 6)
    decoded = DecodedPixels(monkeypatch, num_pixels=150 * 180)
    loaded = list(read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=False))
    assert all(isinstance(image, Image) for image in loaded)
    assert decoded.most_at_once == 150 * 180


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 20_000)
    (source,) = make_large_images(tmp_path, suffix, 1)
    with pytest.raises(ImageReadError, match="27000 pixels are too many"):
        load_rgb(source.path)


def test_large_images_that_are_kept_for_drawings_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    sources = make_large_images(tmp_path, ".png", 12)
    decoded = DecodedPixels(monkeypatch, num_pixels=150 * 180)
    images = read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=True)
    next(images)
    decoded.is_over.wait(1)
    assert sum(1 for _ in images) == 11
    assert decoded.most_held <= 2 * 150 * 180


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read")]


def test_a_reader_whose_bound_is_full_can_be_closed_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    sources = make_large_images(tmp_path, ".png", 12)
    decoded = DecodedPixels(monkeypatch, num_pixels=150 * 180)
    for number in range(3):
        images = read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=True)
        assert [next(images).name for _ in range(number)] == [source.name for source in sources[:number]]
        assert isinstance(images, Generator)
        images.close()
        assert reading_threads() == []
    assert decoded.most_held <= 2 * 150 * 180


def test_a_reader_that_is_forgotten_when_its_bound_is_full_does_not_keep_the_process(tmp_path: Path) -> None:
    make_large_images(tmp_path, ".png", 12)
    script = """
import sys
from pathlib import Path
from retinaface_cli.data import reading
from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.sources import Source

reading.MAX_PIXELS_AT_ONCE = 15_000
sources = [Source(path, path.name) for path in sorted(Path(sys.argv[1]).iterdir())]
sys.images = reading.read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=True)
raise ValueError(next(sys.images).name)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.stderr.endswith("ValueError: 0.png\n")


def test_images_that_cannot_be_decoded_leave_room_for_those_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    sources = make_large_images(tmp_path, ".png", 12)
    for index in (0, 3, 4, 11):
        sources[index].path.write_bytes(sources[index].path.read_bytes()[:200])
    sources[7].path.unlink()
    decoded = DecodedPixels(monkeypatch, num_pixels=150 * 180)
    images = read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=True)
    broken = [loaded.name for loaded in images if isinstance(loaded, UnreadableImage)]
    assert broken == ["0.png", "3.png", "4.png", "7.png", "11.png"]
    assert decoded.most_held <= 2 * 150 * 180


def test_an_error_of_the_decoder_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    sources = make_large_images(tmp_path, ".png", 6)

    def decode(data: bytes, *, name: str, **options: Any) -> RgbImage:
        if name.endswith("2.png"):
            raise MemoryError
        return decode_rgb(data, name=name, **options)

    monkeypatch.setattr(preprocessing, "decode_rgb", decode)
    images = read_images(sources, TestScale(long_side=32), num_workers=4, keep_original=True)
    assert [next(images).name, next(images).name] == ["0.png", "1.png"]
    with pytest.raises(MemoryError):
        next(images)
    assert reading_threads() == []


def test_large_images_do_not_wait_for_others_of_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIXELS_AT_ONCE", 15_000)
    sources = make_large_images(tmp_path, ".png", 3)
    images = read_images(sources, TestScale(long_side=32), num_workers=1, keep_original=True)
    batches = [[loaded.name for loaded in batch] for batch in batch_by_size(images, 4)]
    assert batches == [["0.png"], ["1.png"], ["2.png"]]


def test_pipes_devices_and_circles_of_links_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (good,) = make_images(tmp_path, [(8, 8)])
    sources = [*(Source(tmp_path / name, name) for name in ("pipe.jpg", "zero.png", "circle.jpg")), good]
    *broken, last = read_images(sources, TestScale(), num_workers=2, keep_original=False)
    reasons = [one.reason for one in broken if isinstance(one, UnreadableImage)]
    assert reasons[:2] == ["is a pipe; expected a file", "is a device; expected a file"]
    assert "symbolic links" in reasons[2]
    assert isinstance(last, Image)
