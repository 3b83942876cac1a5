"""The official text labels of WIDER FACE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from retinaface_cli.formats.wider_ground_truth import WIDER_ATTRIBUTES
from tests.formats.label_samples import write_text

ROW = "10 20 30 40 2 0 1 1 1 0"


def test_attributes_are_kept_and_invalid_faces_are_ignored(tmp_path: Path) -> None:
    text = f"e/a.jpg\n2\n{ROW} \n1 2 3 4 0 1 0 0 2 1 \n"
    faces = read_labels(write_text(tmp_path / "gt.txt", text)).label_images()[0].faces
    np.testing.assert_array_equal(faces.boxes, [[10, 20, 40, 60], [1, 2, 4, 6]])
    assert faces.ignore.tolist() == [True, False]
    values = {name: faces.attributes[name].tolist() for name in WIDER_ATTRIBUTES}
    assert values == {
        "blur": [2, 0],
        "expression": [0, 1],
        "illumination": [1, 0],
        "invalid": [1, 0],
        "occlusion": [1, 2],
        "pose": [0, 1],
    }


@pytest.mark.parametrize("zeros", ["0 0 0 0 0 0 0 0 0 0 \n", ""])
def test_a_image_without_faces_may_have_a_line_of_zeros(zeros: str, tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "gt.txt", f"a.jpg\n0\n{zeros}b.jpg\n1\n{ROW}\n"))
    assert [(image.file_name, len(image.faces)) for image in labels.label_images()] == [("a.jpg", 0), ("b.jpg", 1)]


def test_boxes_alone_are_read_too(tmp_path: Path) -> None:
    faces = read_labels(write_text(tmp_path / "gt.txt", "a.jpg\n1\n1 2 3 4\n")).label_images()[0].faces
    np.testing.assert_array_equal(faces.boxes, [[1, 2, 4, 6]])
    assert faces.attributes == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\n", ":1: expected a line with the number of faces behind 'a.jpg'"),
        ("a.jpg\nb.jpg\n", ":2: expected the number of faces, got 'b.jpg'"),
        (f"a.jpg\n3\n{ROW}\n", ":2: expected 3 faces, got 1: the file is cut off"),
        (f"a.jpg\n2\n{ROW}\n1 2 3\n", ":4: expected 4 box numbers, got 3"),
        (f"a.jpg\n2\n{ROW}\n1 2 3 4 5\n", ":4: expected 10 numbers, got 5"),
        (f"a.jpg\n2\n{ROW}\n1 2 x 4 0 0 0 0 0 0\n", ":4: expected a number, got 'x'"),
        ("a.jpg\n-1\n", ":2: expected the number of faces, got '-1'"),
    ],
)
def test_broken_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "gt.txt", text)
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, format_name="wider")
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.shared
def test_text_and_mat_hold_the_same_faces_of_wider_val(shared: Path) -> None:
    text = read_labels(shared / "labels/wider_face_val_bbx_gt.txt").label_images()
    mat = {
        image.file_name: image.faces
        for image in read_labels(shared / "labels/ground_truth/wider_face_val.mat").label_images()
    }
    assert (len(text), len(mat), sum(len(image.faces) for image in text)) == (3226, 3226, 39_708)
    for image in text:
        other = mat[image.file_name]
        np.testing.assert_array_equal(image.faces.boxes, other.boxes)
        np.testing.assert_array_equal(image.faces.ignore, other.ignore)
        for name in WIDER_ATTRIBUTES:
            np.testing.assert_array_equal(image.faces.attributes[name], other.attributes[name])
