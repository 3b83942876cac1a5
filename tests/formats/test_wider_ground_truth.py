"""The official MATLAB labels of WIDER FACE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.wider_ground_truth import DIFFICULTIES, read_wider_ground_truth
from tests.formats.label_samples import BOXES, NAMES, wider_mat


def ground_truth(folder: Path) -> Path:
    wider_mat(folder)
    wider_mat(folder, name="wider_easy_val.mat", counted=[])
    wider_mat(folder, name="wider_medium_val.mat", counted=[])
    wider_mat(folder, name="wider_hard_val.mat", counted=[1])
    return folder


def test_boxes_and_the_faces_that_count_are_read_by_image(tmp_path: Path) -> None:
    images = read_wider_ground_truth(ground_truth(tmp_path))
    assert list(images) == list(NAMES)
    first, second = images.values()
    np.testing.assert_array_equal(first.boxes, BOXES)
    assert {name: mask.tolist() for name, mask in first.is_counted.items()} == {
        "easy": [False, False],
        "medium": [False, False],
        "hard": [True, False],
    }
    assert second.boxes.shape == (0, 4)
    assert second.is_counted["hard"].shape == (0,)


def test_an_index_beyond_the_faces_is_an_error(tmp_path: Path) -> None:
    ground_truth(tmp_path)
    wider_mat(tmp_path, name="wider_hard_val.mat", counted=[3])
    with pytest.raises(LabelFormatError, match=rf"wider_hard_val\.mat: {NAMES[0]}: expected face numbers from 1 to 2"):
        read_wider_ground_truth(tmp_path)


def test_a_missing_list_is_an_error_that_names_it(tmp_path: Path) -> None:
    ground_truth(tmp_path)
    (tmp_path / "wider_easy_val.mat").unlink()
    with pytest.raises(LabelFormatError, match=r"wider_easy_val\.mat: cannot be read"):
        read_wider_ground_truth(tmp_path)


def test_a_mat_file_without_lists_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    ground_truth(tmp_path)
    wider_mat(tmp_path, name="wider_easy_val.mat")
    with pytest.raises(LabelFormatError, match="expected WIDER FACE's gt_list"):
        read_wider_ground_truth(tmp_path)


@pytest.mark.shared
def test_the_official_lists_count_as_many_faces_as_published(shared: Path) -> None:
    images = read_wider_ground_truth(shared / "labels/ground_truth").values()
    counted = {name: sum(int(image.is_counted[name].sum()) for image in images) for name in DIFFICULTIES}
    assert counted == {"easy": 7211, "medium": 13319, "hard": 31958}
    assert sum(len(image.boxes) for image in images) == 39_708
