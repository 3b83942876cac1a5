from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.visualization.sheets import contact_sheet, scale_faces, shrink


def colored(height: int, width: int, value: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.full((height, width, 3), value, np.uint8)


def test_images_stand_in_rows_in_their_order() -> None:
    images = [colored(90, 100, value) for value in (100, 130, 160, 190)]
    sheet = contact_sheet(images, captions=["a", "b", "c", "d"], num_columns=3, cell_width=100)
    assert sheet.shape[1] == 3 * 100 + 4 * 8
    rows, columns = np.nonzero(sheet[:, :, 0] == 190)
    assert (columns.min(), columns.max()) == (8, 107)
    assert rows.min() > np.nonzero(sheet[:, :, 0] == 160)[0].max()
    assert np.nonzero(sheet[:, :, 0] == 160)[1].min() == 8 + 2 * 108
    for value in (100, 130, 160, 190):
        assert np.count_nonzero((sheet == value).all(axis=2)) >= 90 * 100


def test_narrow_images_stand_in_the_middle_of_their_cell() -> None:
    sheet = contact_sheet([colored(100, 20, 200)], captions=[""], num_columns=4, cell_width=100)
    columns = np.nonzero((sheet == 200).all(axis=2))[1]
    assert (columns.min(), columns.max()) == (8 + 40, 8 + 59)
    assert sheet.shape[1] == 100 + 2 * 8  # no room for columns that are not there


def test_each_image_has_its_caption_below_it() -> None:
    with_text = contact_sheet([colored(50, 200, 60)], captions=["crowd.jpg"], num_columns=1, cell_width=200)
    without = contact_sheet([colored(50, 200, 60)], captions=[""], num_columns=1, cell_width=200)
    assert with_text.shape == without.shape
    changed = np.nonzero((with_text != without).any(axis=2))
    assert changed[0].min() > 58
    assert len(changed[0]) > 50


def test_a_caption_that_is_too_long_stays_in_its_cell() -> None:
    images = [colored(50, 100, 60), colored(50, 100, 60)]
    sheet = contact_sheet(images, captions=["x" * 300, ""], num_columns=2, cell_width=100)
    assert (sheet[60:, 8 + 100 :] == 28).all()


def test_a_heading_stands_above_all_and_moves_the_images_down() -> None:
    images = [colored(50, 100, 60)] * 2
    plain = contact_sheet(images, captions=["a", "b"], num_columns=2, cell_width=100)
    headed = contact_sheet(
        images, captions=["a", "b"], num_columns=2, cell_width=100, heading=["what it is", "x" * 300]
    )
    above = headed.shape[0] - plain.shape[0]
    assert above >= 2 * 8 and headed.shape[1] == plain.shape[1]
    np.testing.assert_array_equal(headed[8 + above :], plain[8:])
    assert (headed[8 : 8 + above // 2] != 28).any() and (headed[8 + above // 2 : 8 + above] != 28).any()


def test_a_heading_is_broken_between_words_where_the_sheet_is_narrow() -> None:
    images = [colored(50, 100, 60)]
    broken, whole = (
        contact_sheet(images, captions=[""], num_columns=1, cell_width=100, heading=heading)
        for heading in (["found in the", "validation"], ["found in the validation"])
    )
    np.testing.assert_array_equal(broken, whole)


def test_shrinking_keeps_the_shape_and_never_enlarges() -> None:
    small, factor = shrink(colored(400, 200, 7), 100)
    assert (small.shape, factor) == ((100, 50, 3), 0.25)
    same, factor = shrink(colored(40, 20, 7), 100)
    assert (same.shape, factor) == ((40, 20, 3), 1.0)
    assert shrink(colored(1, 5000, 7), 100)[0].shape == (1, 100, 3)


def test_faces_are_scaled_with_their_image() -> None:
    faces = FaceDetections(
        np.array([[10, 20, 30, 40]], np.float32), np.full((1, 5, 2), 8, np.float32), np.array([0.5], np.float32)
    )
    scaled = scale_faces(faces, 0.5)
    assert scaled.boxes.tolist() == [[5, 10, 15, 20]]
    assert scaled.landmarks[0, 0].tolist() == [4, 4]
    assert scaled.scores.tolist() == [0.5]
    labels = scale_faces(FaceLabels.from_boxes([[10, 20, 30, 40]]), 2.0)
    assert labels.boxes.tolist() == [[20, 40, 60, 80]]
    assert np.isnan(labels.landmarks).all()


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_sheet_holds_any_number_of_images(number: int) -> None:
    images = [colored(30, 40, 99)] * number
    sheet = contact_sheet(images, captions=["x"] * number, num_columns=2, cell_width=40)
    assert np.count_nonzero((sheet == 99).all(axis=2)) == number * 30 * 40
