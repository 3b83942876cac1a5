from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retinaface_cli.data.headers import read_image_size
from retinaface_cli.data.pixel_budget import PixelBudget
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)


def encoded(kind: str, *, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def with_preview(jpeg: bytes) -> bytes:
    """A JPEG with another one in a segment behind its first bytes."""
    preview = encoded("JPEG")[:2] + b"Exif" + encoded("JPEG")
    return jpeg[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + jpeg[2:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_from_the_head_is_that_of_the_decoded_image(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(kind, orientation=orientation))
    assert read_image_size(Source(path, path.name), PixelBudget()) == load_rgb(path).shape[:2]


def test_a_jpeg_on_its_side_is_higher_than_wide(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG", orientation=6))
    assert read_image_size(Source(path, path.name), PixelBudget()) == (64, 40)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG") + bytes(3000))
    assert read_image_size(Source(path, path.name), PixelBudget()) == (40, 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded("JPEG")[:1000], "truncated"),
        (encoded("PNG")[:3000], "a.jpg: "),
        (encoded("BMP")[:-1], "a.jpg: "),
        (encoded("BMP")[:30], "a.jpg: "),
        (encoded("BMP").replace(b"BM" + encoded("BMP")[2:6], b"BM" + bytes(4))[:-1000], "a.jpg: "),
        (encoded("WEBP")[:-1], "a.jpg: "),
        (with_preview(encoded("JPEG"))[:-1000], "truncated"),
        (b"no image", "a.jpg: "),
        (b"", "empty"),
    ],
)
def test_what_is_no_whole_image_is_reported_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=message):
        read_image_size(Source(path, path.name), PixelBudget())


def test_a_missing_image_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"b\.jpg: cannot be read \(No such file"):
        read_image_size(Source(tmp_path / "b.jpg", "b.jpg"), PixelBudget())
