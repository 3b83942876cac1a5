"""Sizes from the heads of image files, held to what OpenCV decodes."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.formats.image_heads import measure_file, read_size


def write(path: Path, width: int = 60, height: int = 40, *, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", [".bmp", ".gif", ".pgm"])
def test_images_without_metadata(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / f"a{suffix}")
    assert measure_file(tmp_path / f"a{suffix}") == (40, 60)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".avif", ".tif", ".bmp", ".dib", ".gif", ".jp2", ".ppm"])
def test_images_larger_than_pillow_would_open_have_a_size(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / f"a{suffix}")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert measure_file(tmp_path / f"a{suffix}") == (40, 60)
    assert read_size(io.BytesIO((tmp_path / f"a{suffix}").read_bytes())) == (40, 60)


def test_a_progressive_jpeg_with_other_segments_before_its_frame(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.jpg", progressive=True, comment=b"x" * 500)
    assert measure_file(tmp_path / "a.jpg") == (40, 60)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 30, 160])
def test_a_file_that_is_cut_off_has_no_size(length: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:length])
    assert measure_file(path) == (0, 0)


def test_no_image_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("hello")
    assert measure_file(tmp_path / "a.jpg") == (0, 0)
    assert measure_file(tmp_path / "nowhere.jpg") is None


@pytest.mark.shared
def test_sizes_of_real_images_are_those_of_the_decoded_ones(shared: Path) -> None:
    paths = sorted((shared / "data/wider_dev/WIDER_val/images").rglob("*.jpg"))[::40]
    assert paths
    for path in paths:
        decoded = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        assert decoded is not None
        size = measure_file(path)
        assert size is not None
        assert decoded.shape == tuple(-(-side // 8) for side in size)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_size_and_pixels_are_turned_alike_in_every_format(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", orientation=orientation)
    size = measure_file(path)
    assert size == load_rgb(path).shape[:2] == ((60, 40) if orientation > 4 else (40, 60))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif"])
def test_no_pixel_is_decoded_for_a_size(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / f"a{suffix}", orientation=6)

    def refuse(image: ImageFile.ImageFile) -> None:
        raise AssertionError(f"{image.format} is decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert measure_file(path) == (60, 40)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_exif_behind_the_pixels_of_a_png_counts_and_what_follows_its_end_does_not(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.png").read_bytes()
    end = png_chunk(b"IEND", b"")
    exif = png_chunk(b"eXIf", b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0))
    body = plain[: plain.index(end)]
    (tmp_path / "behind.png").write_bytes(body + exif + end)
    (tmp_path / "after.png").write_bytes(body + end + exif)
    (tmp_path / "cut.png").write_bytes(body[:50])
    assert measure_file(tmp_path / "behind.png") == load_rgb(tmp_path / "behind.png").shape[:2] == (60, 40)
    assert measure_file(tmp_path / "after.png") == load_rgb(tmp_path / "after.png").shape[:2] == (40, 60)
    assert measure_file(tmp_path / "cut.png") == (40, 60)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_opencv_turns_them(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    turned = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(load_rgb(tmp_path / "a.png"), turned)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "value"), [(3, 6), (4, 6), (4, 8), (3, 0), (3, 9), (4, 70_000), (2, 6), (7, 6)])
def test_exif_of_any_kind_leaves_size_and_pixels_alike(order: str, kind: int, value: int, tmp_path: Path) -> None:
    number = struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value)
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1) + number
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 1)
    segment = b"Exif\0\0" + head + entry + b"\0\0\0\0"
    plain = write(tmp_path / "a.jpg").read_bytes()
    path = tmp_path / "b.jpg"
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:])
    is_turned = kind in (3, 4) and value in (5, 6, 7, 8)
    assert measure_file(path) == load_rgb(path).shape[:2] == ((60, 40) if is_turned else (40, 60))


def test_a_pipe_is_no_image_and_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert measure_file(tmp_path / "a.jpg") is None
