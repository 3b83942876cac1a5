from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.data.preprocessing import TestScale
from retinaface_cli.data.reading import Image, Loaded, UnreadableImage, batch_by_size, read_images
from retinaface_cli.data.sources import Source
from retinaface_cli.data.video import VideoWriter, frame_rate, read_frames


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
