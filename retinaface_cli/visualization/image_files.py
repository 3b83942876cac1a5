"""Writing of images, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2

from retinaface_cli.errors import RetinaFaceError, shown
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.atomic import atomic_path, writing

JPEG_QUALITY = 95

_MAX_JPEG_SIDE = 65_500  # libjpeg's bound


def encode_image(path: Path, image: RgbImage, *, quality: int = JPEG_QUALITY) -> bytes:
    """The content of an image file: .jpg, .png or whatever OpenCV writes for the path's ending.

    Args:
        path: where it is to lie; only its ending and, in messages, its name matter.
        image: (H, W, 3) uint8 RGB.
        quality: of JPEG files, in [1, 100].

    Raises:
        RetinaFaceError: the ending is unknown, or the image is empty or too large for the format.
    """
    suffix = path.suffix.lower()
    if suffix in (".jpg", ".jpeg") and max(image.shape[:2]) > _MAX_JPEG_SIDE:
        raise RetinaFaceError(
            f"{shown(path)}: {image.shape[1]} x {image.shape[0]} pixels are too many for a JPEG (at most "
            f"{_MAX_JPEG_SIDE} a side); write a .png"
        )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix in (".jpg", ".jpeg") else []
    try:
        is_done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error as error:
        raise RetinaFaceError(f"{shown(path)}: cannot be written as {suffix or 'an image'} ({error.err})") from None
    if not is_done:
        raise RetinaFaceError(f"{shown(path)}: cannot be written as {suffix}")
    return data.tobytes()


def save_image(path: Path, image: RgbImage, *, quality: int = JPEG_QUALITY) -> None:
    """Writes an image, whole or not at all; parent folders are made. See encode_image.

    Raises:
        RetinaFaceError: the image cannot be encoded, or the disk refuses.
    """
    data = encode_image(path, image, quality=quality)
    with writing(path), atomic_path(path) as temporary:
        temporary.write_bytes(data)
