from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retinaface_cli.data.cropping import Window, choose_window, cut_window
from retinaface_cli.data.sources import Source
from retinaface_cli.faces import FloatArray, RgbImage
from retinaface_cli.settings.data import CropSettings
from tests.data.painted import BACKGROUND, face_labels, nearest_point, paint, painted_box, write_image

FILL = np.array([124, 116, 104], np.uint8)
NO_BOXES = np.zeros((0, 4), np.float32)


def windows(crop: CropSettings, size: tuple[int, int], boxes: FloatArray = NO_BOXES, *, num: int = 200) -> list[Window]:
    rng = np.random.default_rng(0)
    return [choose_window(rng, size, boxes=boxes, crop=crop) for _ in range(num)]


def boxes_of(*boxes: tuple[float, float, float, float]) -> FloatArray:
    return np.array(boxes, np.float32)


def test_without_cropping_the_whole_image_is_shown_in_a_square_from_its_corner() -> None:
    assert set(windows(CropSettings(probability=0), (60, 100))) == {Window(0, 0, 100)}
    assert set(windows(CropSettings(probability=0), (100, 60))) == {Window(0, 0, 100)}


def test_squares_have_the_sides_of_the_settings_and_lie_inside_the_image() -> None:
    found = windows(CropSettings(scales=(0.5, 1.0)), (60, 100))
    assert {window.side for window in found} == {30, 60}
    assert all(0 <= w.left <= 100 - w.side and 0 <= w.top <= 60 - w.side for w in found)
    assert {window.top for window in found if window.side == 60} == {0}
    assert {window.left for window in found if window.side == 60} >= {0, 40}


def test_a_square_larger_than_the_image_holds_all_of_it() -> None:
    found = windows(CropSettings(scales=(2.0,)), (60, 100))
    assert all(window.side == 120 for window in found)
    assert all(-20 <= w.left <= 0 and -60 <= w.top <= 0 for w in found)
    assert {window.left for window in found} >= {-20, 0}


def test_a_square_shows_a_whole_face_where_that_is_asked_for() -> None:
    boxes = boxes_of((10, 10, 30, 34), (70, 30, 90, 50))
    found = windows(CropSettings(scales=(0.5,), min_best_visibility=1), (60, 100), boxes)
    for w in found:
        whole = (boxes[:, :2] >= (w.left, w.top)) & (boxes[:, 2:] <= (w.left + w.side, w.top + w.side))
        assert whole.all(axis=1).any()


def test_a_square_shows_the_centre_and_enough_of_a_face() -> None:
    box = boxes_of((0, 0, 40, 40))
    found = windows(CropSettings(scales=(0.6,), min_best_visibility=0.25), (100, 100), box, num=500)
    assert all(w.left < 20 and w.top < 20 for w in found)
    assert max(w.left for w in found) == 19  # at 19, 21 of 40 columns are seen


def test_the_first_square_that_fits_is_taken_so_that_large_ones_are_more_frequent() -> None:
    # a face of half the image fits into a square of its own size at one of 51 x 51 places only, into the whole always
    found = windows(CropSettings(scales=(0.5, 1.0), min_best_visibility=1), (100, 100), boxes_of((0, 0, 50, 50)))
    assert sum(window.side == 100 for window in found) > 190


def test_where_no_square_fits_the_whole_image_is_shown() -> None:
    crop = CropSettings(scales=(0.3,), min_best_visibility=1)
    assert set(windows(crop, (60, 100), boxes_of((5, 5, 80, 58)), num=5)) == {Window(0, 0, 100)}


def test_the_last_of_the_allowed_tries_counts() -> None:
    crop = CropSettings(scales=(0.3,), min_best_visibility=1, max_tries=2000)
    found = windows(crop, (100, 100), boxes_of((0, 0, 30, 30)), num=100)  # one place of 71 x 71
    assert 10 < sum(window == Window(0, 0, 30) for window in found) < 60  # 1 - (1 - 1/5041) ** 2000 = .33


def test_images_without_faces_are_cut_anywhere() -> None:
    assert len(set(windows(CropSettings(scales=(0.5,)), (60, 100)))) > 100


@pytest.fixture
def one_image(tmp_path: Path) -> tuple[Path, RgbImage]:
    image = paint((120, 200), face_labels((50, 30, 110, 100)))
    return write_image(tmp_path / "a.png", image), image


@pytest.mark.parametrize("window", [Window(0, 0, 120), Window(37, 11, 97), Window(-30, -50, 240), Window(0, 0, 200)])
def test_points_and_boxes_move_with_the_image(one_image: tuple[Path, RgbImage], window: Window) -> None:
    path, _ = one_image
    cut = cut_window(
        Source(path, path.name), window, image_size=320, whole_size=(120, 200), fill=np.array(BACKGROUND, np.uint8)
    )
    faces = face_labels((50, 30, 110, 100))
    corners = cut.to_network(faces.boxes.reshape(2, 2)).reshape(4)
    np.testing.assert_allclose(painted_box(cut.image), corners, atol=2)  # a soft edge is up to a zoomed pixel wide
    points = cut.to_network(faces.landmarks[0])
    assert [nearest_point(cut.image[int(y), int(x)]) for x, y in points] == [0, 1, 2, 3, 4]


def test_a_cut_without_scaling_is_the_images_own_pixels(one_image: tuple[Path, RgbImage]) -> None:
    path, image = one_image
    cut = cut_window(Source(path, path.name), Window(40, 20, 64), image_size=64, whole_size=(120, 200), fill=FILL)
    np.testing.assert_array_equal(cut.image, image[20:84, 40:104])
    np.testing.assert_array_equal(cut.content, [0, 0, 64, 64])
    np.testing.assert_allclose(cut.to_network(np.array([41.5, 22.0], np.float32)), [1.5, 2])


def test_what_lies_outside_the_image_is_filled(one_image: tuple[Path, RgbImage]) -> None:
    path, image = one_image
    cut = cut_window(Source(path, path.name), Window(-20, -100, 240), image_size=240, whole_size=(120, 200), fill=FILL)
    np.testing.assert_array_equal(cut.content, [20, 100, 220, 220])
    np.testing.assert_array_equal(cut.image[100:220, 20:220], image)
    outside = np.ones((240, 240), np.bool_)
    outside[100:220, 20:220] = False
    assert (cut.image[outside] == FILL).all()


@pytest.mark.parametrize("window", [Window(0, 0, 1), Window(199, 119, 1), Window(-1, -119, 240)])
def test_the_smallest_and_farthest_windows_are_cut_too(one_image: tuple[Path, RgbImage], window: Window) -> None:
    cut = cut_window(Source(one_image[0], "a.png"), window, image_size=64, whole_size=(120, 200), fill=FILL)
    assert cut.image.shape == (64, 64, 3)
    assert (cut.content[2:] > cut.content[:2]).all()


@pytest.mark.parametrize("side", [321, 640, 1290, 1500])
def test_reduced_decoding_of_a_jpeg_moves_nothing(tmp_path: Path, side: int) -> None:
    faces = face_labels((405, 303, 907, 811))
    path = write_image(tmp_path / "large.jpg", paint((1101, 1401), faces))
    window = Window(300, 200, side)
    fill = np.array(BACKGROUND, np.uint8)
    cut = cut_window(Source(path, path.name), window, image_size=160, whole_size=(1101, 1401), fill=fill)
    corners = np.clip(cut.to_network(faces.boxes.reshape(2, 2)).reshape(4), 0, 160)
    np.testing.assert_allclose(painted_box(cut.image), corners, atol=1.2)
    np.testing.assert_allclose(cut.scale, 160 / side, rtol=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [90, 600])
def test_cuts_honour_the_exif_orientation(tmp_path: Path, orientation: int, side: int) -> None:
    upright = paint((300, 400), face_labels((20, 30, 80, 100)))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(buffer, "JPEG", exif=exif, quality=100, subsampling=0)
    path = tmp_path / "turned.jpg"
    path.write_bytes(buffer.getvalue())
    cut = cut_window(Source(path, path.name), Window(0, 20, side), image_size=120, whole_size=(300, 400), fill=FILL)
    faces = face_labels((20, 30, 80, 100))
    for number, (x, y) in enumerate(cut.to_network(faces.landmarks[0])):
        assert nearest_point(cut.image[int(y), int(x)]) == number
