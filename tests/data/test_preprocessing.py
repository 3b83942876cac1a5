from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from retinaface_cli.data.preprocessing import Resizer, TestScale, decode_at_scale, decode_rgb, load_rgb
from retinaface_cli.errors import ImageReadError
from retinaface_cli.faces import FaceDetections

RED, GREEN = (200, 30, 40), (20, 180, 60)


def two_halves(height: int = 40, width: int = 60) -> npt.NDArray[np.uint8]:
    """Red on the left, green on the right; (H, W, 3) RGB."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2] = RED
    image[:, width // 2 :] = GREEN
    return image


def save(path: Path, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Path:
    """Writes RGB, RGBA or grey images with OpenCV."""
    if image.ndim == 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".jpg"])
def test_images_come_as_rgb(tmp_path: Path, suffix: str) -> None:
    image = load_rgb(save(tmp_path / f"ä b{suffix}", two_halves()))
    assert image.shape == (40, 60, 3)
    np.testing.assert_allclose(image[20, 10], RED, atol=12)
    np.testing.assert_allclose(image[20, 50], GREEN, atol=12)


def test_grey_rgba_and_16_bit_images_are_converted(tmp_path: Path) -> None:
    grey = load_rgb(save(tmp_path / "grey.png", np.full((4, 5), 77, np.uint8)))
    assert (grey == 77).all()
    rgba = np.dstack([two_halves(), np.zeros((40, 60), np.uint8)])
    np.testing.assert_array_equal(load_rgb(save(tmp_path / "rgba.png", rgba)), two_halves())
    deep = load_rgb(save(tmp_path / "deep.png", np.full((4, 5, 3), 77 * 257, np.uint16)))
    assert (deep == 77).all()


def test_palette_and_cmyk_images_are_converted(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(two_halves()).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    np.testing.assert_allclose(load_rgb(tmp_path / "p.png")[20, 10], RED, atol=3)
    Image.fromarray(two_halves()).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    np.testing.assert_allclose(load_rgb(tmp_path / "c.jpg")[20, 10], RED, atol=25)


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    Image.fromarray(two_halves()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = load_rgb(tmp_path / "turned.jpg")
    assert image.shape == (60, 40, 3)
    np.testing.assert_allclose(image[10, 20], RED, atol=12)
    np.testing.assert_allclose(image[50, 20], GREEN, atol=12)


def test_reduced_reading_gives_a_smaller_image(tmp_path: Path) -> None:
    path = save(tmp_path / "x.jpg", two_halves(80, 160))
    assert load_rgb(path, reduction=4).shape == (20, 40, 3)


def test_extreme_shapes_are_read(tmp_path: Path) -> None:
    assert load_rgb(save(tmp_path / "one.png", two_halves(1, 1))).shape == (1, 1, 3)
    assert load_rgb(save(tmp_path / "long.png", two_halves(30, 20_000))).shape == (30, 20_000, 3)


def bomb() -> bytes:
    """A PNG whose head promises 100,000 x 100,000 pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_each_kind_of_broken_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    jpeg = save(tmp_path / "whole.jpg", two_halves(200, 300)).read_bytes()
    contents = {
        "empty.jpg": (b"", "is empty"),
        "text.jpg": (b"this is no image", "not an image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "bomb.png": (bomb(), "too many"),
    }
    for name, (data, reason) in contents.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageReadError, match=reason) as raised:
            load_rgb(tmp_path / name)
        assert name in str(raised.value)
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageReadError, match="is a folder"):
        load_rgb(tmp_path / "folder.jpg")
    with pytest.raises(ImageReadError, match="No such file"):
        load_rgb(tmp_path / "absent.jpg")


def test_a_image_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", two_halves())

    def refuse(path: Path, *_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", refuse)
    with pytest.raises(ImageReadError, match="Permission denied"):
        load_rgb(path)


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [
        (TestScale(), (600, 800), (600, 800)),
        (TestScale(long_side=400), (600, 800), (300, 400)),
        (TestScale(long_side=1600), (600, 800), (1200, 1600)),
        (TestScale(long_side=1600, upscale=False), (600, 800), (600, 800)),
        (TestScale(short_side=1600, long_side=2150), (600, 800), (1600, 2133)),
        (TestScale(short_side=1600, long_side=2150), (600, 1000), (1290, 2150)),
    ],
)
def test_target_sizes_of_worked_examples(scale: TestScale, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert scale.target_size(size) == expected


def photo(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Smooth waves of 60 pixels and more in all colours."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    planes = [128 + 100 * np.sin(x / a) * np.cos(y / b) for a, b in ((10, 14), (17, 11), (13, 19))]
    return np.stack(planes, axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "scale", "reduction"),
    [
        ((480, 640), TestScale(long_side=640), 1),
        ((480, 640), TestScale(long_side=321), 1),
        ((480, 640), TestScale(long_side=320), 2),
        ((480, 640), TestScale(long_side=161), 2),
        ((480, 640), TestScale(short_side=120), 4),
        ((480, 640), TestScale(long_side=50), 8),
        ((480, 642), TestScale(long_side=50), 2),  # 642 is no multiple of 4
        ((480, 641), TestScale(long_side=50), 1),
        ((480, 640), TestScale(), 1),
    ],
    ids=str,
)
def test_a_jpeg_is_decoded_as_small_as_its_size_in_the_network_allows(
    size: tuple[int, int], scale: TestScale, reduction: int
) -> None:
    assert Resizer.for_scale(size, scale).reduction == reduction
    data = cv2.imencode(".jpg", photo(*size), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    image, resizer, _ = decode_at_scale(data, scale, name="x.jpg")
    assert resizer == Resizer.for_scale(size, scale)
    assert image.shape[:2] == resizer.network_size
    whole = decode_rgb(data, name="x.jpg")
    np.testing.assert_allclose(image.astype(int), resizer.resize(whole), atol=10 if reduction > 1 else 0)


def test_a_reduced_jpeg_is_turned_upright_too(tmp_path: Path) -> None:
    from PIL import Image

    path, exif = tmp_path / "x.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo(64, 128)).save(path, exif=exif, quality=95)
    image, resizer, _ = decode_at_scale(path.read_bytes(), TestScale(long_side=32), name="x.jpg")
    assert (resizer.original_size, image.shape) == ((128, 64), (32, 16, 3))
    np.testing.assert_allclose(image.astype(int), resizer.resize(load_rgb(path)), atol=12)


def test_other_formats_are_decoded_whole() -> None:
    data = cv2.imencode(".png", photo(480, 640))[1].tobytes()
    image, resizer, _ = decode_at_scale(data, TestScale(long_side=160), name="x.png")
    np.testing.assert_array_equal(image, resizer.resize(np.ascontiguousarray(photo(480, 640)[..., ::-1])))


def test_a_thin_image_keeps_at_least_one_pixel() -> None:
    assert TestScale(long_side=960).target_size((30, 200_000)) == (1, 960)


def test_the_resizer_inverts_itself() -> None:
    resizer = Resizer.for_scale((333, 777), TestScale(long_side=640))
    points = np.array([[0, 0], [777, 333], [100.5, 20.25]], np.float32)
    np.testing.assert_allclose(resizer.to_original(resizer.to_network(points)), points, rtol=1e-6)
    np.testing.assert_allclose(resizer.to_network(points)[1], [640, 274])


def test_restored_boxes_are_clipped_to_the_image_or_not() -> None:
    resizer = Resizer((100, 200), (50, 100))
    faces = FaceDetections(
        np.array([[-5, 10, 105, 30]], np.float32), np.full((1, 5, 2), 10, np.float32), np.array([0.9], np.float32)
    )
    assert resizer.restore(faces).boxes.tolist() == [[0, 20, 200, 60]]
    assert resizer.restore(faces, clip=False).boxes.tolist() == [[-10, 20, 210, 60]]
    assert resizer.restore(faces).landmarks[0, 0].tolist() == [20, 20]
