"""Reading of images, and the resizing between the two frames: original image and network input."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import ImageReadError, shown
from retinaface_cli.faces import FaceDetections, FloatArray, RgbImage
from retinaface_cli.files.reading import read_bytes
from retinaface_cli.formats.image_heads import ImageHead, read_head
from retinaface_cli.settings.detection import DetectionSettings

MAX_PIXELS = 300_000_000
"""Largest image that is decoded, in pixels (900 MB as RGB); beyond, a file is taken for a decompression bomb."""

MAX_FILE_BYTES = 1 << 30
"""Largest image file that is read."""

REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
"""How many times smaller a JPEG can come out of its decoder, strongest first, and OpenCV's flag for it."""

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"


def load_rgb(path: str | Path, *, reduction: int = 1) -> RgbImage:
    """Reads an image as (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Grey, palette, RGBA, CMYK and 16-bit images are converted; transparency is dropped.

    Args:
        path: an image in any format that OpenCV decodes.
        reduction: 1, 2, 4 or 8; the image comes back that many times smaller, which JPEG decodes much faster.

    Raises:
        ImageReadError: missing, empty, truncated, no image, too large, a folder, or not permitted.
    """
    return decode_rgb(read_image_bytes(Path(path)), name=shown(path), reduction=reduction)


def decode_rgb(data: bytes, *, name: str, reduction: int = 1, head: ImageHead | None = None) -> RgbImage:
    """Decodes the bytes of an image file; see load_rgb. `name` is for the error, `head` what has been read before."""
    if not data:
        raise ImageReadError(f"{name}: the file is empty")
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-max(len(data) // 2, 2) :]:
        raise ImageReadError(f"{name}: the JPEG is truncated ({len(data)} bytes)")
    head = head or read_head(io.BytesIO(data))
    if head is not None and (num_pixels := head.size[0] * head.size[1]) > MAX_PIXELS:
        raise ImageReadError(f"{name}: {num_pixels} pixels are too many (at most {MAX_PIXELS})")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCTIONS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise ImageReadError(f"{name}: cannot be decoded ({error.err})") from None
    if image is None:
        raise ImageReadError(f"{name}: not an image that can be decoded, or a broken one ({len(data)} bytes)")
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return _turn_upright(rgb, 1 if head is None else head.orientation)  # type: ignore[arg-type]


class ScaledImage(NamedTuple):
    """An image on its way into the network.

    Attributes:
        image: (h, w, 3) uint8 RGB at network size.
        resizer: back to original pixels.
        original: (H, W, 3) uint8 RGB, where it was asked for.
    """

    image: RgbImage
    resizer: Resizer
    original: RgbImage | None


def decode_at_scale(data: bytes, scale: TestScale, *, name: str, keep_original: bool = False) -> ScaledImage:
    """Decodes the bytes of an image file for the network.

    A JPEG that is to shrink to a half or less comes out of the decoder at a half, a quarter or an eighth, which is
    several times as fast, where that divides its sides, so that no part of a pixel is lost. The original is decoded
    once more then, so that faces do not depend on whether it is kept.

    Raises:
        ImageReadError: see load_rgb and Resizer.resize.
    """
    head = read_head(io.BytesIO(data))
    decode = partial(decode_rgb, data, name=name, head=head)
    size = head.size if head is not None and data.startswith(_JPEG_START) else None
    reduction = 1 if size is None else Resizer.for_scale(size, scale).reduction
    image = decode(reduction=reduction)
    if size != (image.shape[0] * reduction, image.shape[1] * reduction) and reduction > 1:
        reduction, image = 1, decode(reduction=1)  # the head and the decoder do not agree
    original = decode(reduction=1) if keep_original and reduction > 1 else image
    resizer = Resizer.for_scale((image.shape[0] * reduction, image.shape[1] * reduction), scale)
    return ScaledImage(resizer.resize(image), resizer, original if keep_original else None)


def _turn_upright(image: RgbImage, orientation: int) -> RgbImage:
    """The image as it is looked at, from pixels that are stored in an EXIF orientation of 1 to 8."""
    turned: npt.NDArray[np.uint8] = image.transpose(1, 0, 2) if orientation in (5, 6, 7, 8) else image
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return np.ascontiguousarray(turned[rows, columns])


def read_image_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        ImageReadError: it cannot be read, or is no regular file.
    """
    return read_bytes(path, max_bytes=MAX_FILE_BYTES, error=ImageReadError)


@dataclass(frozen=True)
class TestScale:
    """At what size images go through the network; the aspect ratio is kept.

    Attributes:
        long_side: length of the longer side in pixels, or its bound where short_side is given; None: no resizing.
        short_side: length of the shorter side in pixels, as far as long_side allows.
        upscale: whether smaller images are enlarged.
    """

    __test__ = False

    long_side: int | None = None
    short_side: int | None = None
    upscale: bool = True

    @classmethod
    def of(cls, settings: DetectionSettings) -> TestScale:
        """The scale of a detector."""
        return cls(settings.max_size, settings.short_side, settings.upscale)

    def target_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in the network of an image of (height, width) pixels."""
        factor = 1.0
        if self.short_side is not None:
            factor = self.short_side / min(image_size)
            if self.long_side is not None:
                factor = min(factor, self.long_side / max(image_size))
        elif self.long_side is not None:
            factor = self.long_side / max(image_size)
        if not self.upscale:
            factor = min(factor, 1.0)
        height, width = (max(1, round(side * factor)) for side in image_size)
        return height, width


@dataclass(frozen=True)
class Resizer:
    """Converts between an image and the network input of the same content, both ways.

    Attributes:
        original_size: (height, width) of the image.
        network_size: (height, width) of the same content in the network input, padding not counted.
    """

    original_size: tuple[int, int]
    network_size: tuple[int, int]

    @classmethod
    def for_scale(cls, image_size: tuple[int, int], scale: TestScale) -> Resizer:
        """The resizer of an image of (height, width) pixels at a test scale."""
        return cls(image_size, scale.target_size(image_size))

    @property
    def reduction(self) -> int:
        """How many times smaller a JPEG may be decoded, see REDUCTIONS; it stays as large as it is to become."""
        sides = list(zip(self.original_size, self.network_size, strict=True))
        fitting = (n for n in REDUCTIONS if all(side % n == 0 and side >= n * target for side, target in sides))
        return next(fitting, 1)

    @property
    def factors(self) -> FloatArray:
        """(2,) network pixels per original pixel, x and y."""
        (height, width), (network_height, network_width) = self.original_size, self.network_size
        return np.array([network_width / width, network_height / height], np.float32)

    def resize(self, image: RgbImage) -> RgbImage:
        """The image at network size: bilinear, over all pixels that a new one covers when it shrinks.

        Args:
            image: (H, W, 3), the image itself or decoded with `reduction`.

        Raises:
            ImageReadError: it would have too many pixels.
        """
        if image.shape[:2] == self.network_size:
            return image
        height, width = self.network_size
        if height * width > MAX_PIXELS:
            raise ImageReadError(
                f"{image.shape[1]} x {image.shape[0]} pixels would be {width} x {height} in the network, which are too "
                "many; lower max_size or short_side"
            )
        if height < image.shape[0]:
            return _shrink(image, (height, width))
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]

    def to_network(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) of the original image in network pixels."""
        return points * self.factors

    def to_original(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) of the network input in original pixels; the inverse of to_network."""
        return points / self.factors

    def restore(self, faces: FaceDetections, *, clip: bool = True) -> FaceDetections:
        """Detections in network pixels as detections in original pixels, boxes clipped to the image or not."""
        corners = self.to_original(faces.boxes.reshape(-1, 2, 2))
        if clip:
            height, width = self.original_size
            corners = np.clip(corners, 0, np.array([width, height], np.float32))
        return FaceDetections(corners.reshape(-1, 4), self.to_original(faces.landmarks), faces.scores)


def _shrink(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """The image at (height, width) by a triangle filter; five times as fast as OpenCV's average over areas."""
    import torch  # not for those who only read images: it takes a second

    planes = torch.from_numpy(image)[None].permute(0, 3, 1, 2)  # in this order channels stay last in memory
    small = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
    shrunk: RgbImage = small.permute(0, 2, 3, 1)[0].numpy()
    return np.ascontiguousarray(shrunk)
