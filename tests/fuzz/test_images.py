"""Images with wrong bytes: decoded, or refused with one message; head and pixels agree on the size."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retinaface_cli.data.headers import read_image_size
from retinaface_cli.data.pixel_budget import PixelBudget
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.sources import Source
from tests.fuzz.mutation import is_refused, mutated_files, numbers_of_cases

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif", ".avif", ".jp2", ".ppm")


def write_images(folder: Path, suffix: str) -> list[Path]:
    """An upright image and one that is turned by its EXIF orientation, where the format has one."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    paths = [folder / f"{orientation}{suffix}" for orientation in (1, 6)]
    for path, orientation in zip(paths, (1, 6), strict=True):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options: dict[str, Any] = {"exif": exif} if suffix in (".jpg", ".png", ".webp", ".tif", ".avif") else {}
        Image.fromarray(pixels).save(path, **options)
    return paths


@numbers_of_cases(40)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_with_wrong_bytes_are_decoded_or_refused(suffix: str, tmp_path: Path, count: int) -> None:
    paths = write_images(tmp_path, suffix)
    names = sorted(path.name for path in tmp_path.iterdir())
    for path in mutated_files(paths, f"{suffix} {count}", count):

        def compare(path: Path = path) -> None:
            image = load_rgb(path)
            assert image.ndim == 3 and image.dtype == np.uint8
            assert read_image_size(Source(path, path.name), PixelBudget()) == image.shape[:2]

        is_refused(compare)
        is_refused(partial(read_image_size, Source(path, path.name), PixelBudget()))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
