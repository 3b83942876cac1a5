"""WIDER FACE: whole folders in the layouts that people have, and its official text labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from retinaface_cli.formats.wider_ground_truth import WIDER_ATTRIBUTES
from tests.formats.label_samples import (
    BOXES,
    NAMES,
    POINTS,
    label_txt,
    labelv2_txt,
    wider_mat,
    wider_txt,
    write_png,
    write_text,
)


def official(folder: Path, split: str = "train") -> None:
    wider_txt(folder).rename(folder / f"wider_face_{split}_bbx_gt.txt")


def layout(folder: Path, make: Callable[[Path], object], labels_in: str, images_in: str) -> Path:
    make(folder / labels_in)
    for name in NAMES:
        write_png(folder / images_in / name)
    return folder


OFFICIAL_LAYOUT = (official, "wider_face_split", "WIDER_train/images")


@pytest.mark.parametrize(
    ("make", "labels_in", "images_in", "inner"),
    [
        (*OFFICIAL_LAYOUT, ""),
        (*OFFICIAL_LAYOUT, "WIDER_train"),
        (partial(wider_mat, name="wider_face_train.mat"), "wider_face_split", "WIDER_train/images", ""),
        (label_txt, "train", "train/images", ""),
        (label_txt, "", "images", ""),
        (labelv2_txt, "train", "train/images", ""),
    ],
)
def test_every_usual_layout_is_read_with_its_images(
    make: Callable[[Path], object], labels_in: str, images_in: str, inner: str, tmp_path: Path
) -> None:
    labels = read_labels(layout(tmp_path, make, labels_in, images_in) / inner, measure=True)
    assert labels.format_name == "wider"
    assert [image.file_name for image in labels.label_images()] == list(NAMES)
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, BOXES)
    assert labels.label_images()[0].width == 100
    assert labels.findings == ()


def test_landmarks_and_attributes_of_two_files_are_joined(tmp_path: Path) -> None:
    official(tmp_path / "wider_face_split")
    label_txt(tmp_path / "train")
    faces = read_labels(tmp_path).label_images()[0].faces
    np.testing.assert_array_equal(faces.landmarks[0], np.array(POINTS, np.float32))
    wanted: dict[str, list[float]] = {
        "landmark_blur": [0.5, 0.1],
        "occluded_landmarks": [0, np.nan],
        "blur": [2, 0],
    }
    wanted |= {"expression": [0, 1], "illumination": [1, 0], "invalid": [0, 1], "occlusion": [1, 2], "pose": [0, 1]}
    for name, values in faces.attributes.items():
        np.testing.assert_allclose(values, wanted.pop(name))
    assert not wanted


def test_faces_are_joined_by_their_boxes_in_any_order_and_none_is_lost(tmp_path: Path) -> None:
    rows = ["50 50 9 9 1 0 0 0 0 0", "11 20 30 40 2 0 0 1 0 0", "70 70 9 9 0 0 0 0 0 0"]
    text = f"{NAMES[0]}\n3\n" + "\n".join(rows) + "\nnew.jpg\n1\n1 1 5 5 0 0 0 0 0 0\n"
    write_text(tmp_path / "wider_face_split/wider_face_train_bbx_gt.txt", text)
    label_txt(tmp_path / "train").write_text(f"# {NAMES[0]}\n10 20 30 40\n30 30 9 9\n50 50 9 9\n")
    labels = read_labels(tmp_path)
    first, new = labels.label_images()
    np.testing.assert_array_equal(first.faces.boxes[:, :2], [[10, 20], [30, 30], [50, 50], [70, 70]])
    np.testing.assert_array_equal(first.faces.attributes["blur"], [2, np.nan, 1, 0])
    assert first.faces.ignore.tolist() == [True, False, False, False]
    assert (new.file_name, len(new.faces)) == ("new.jpg", 1)
    assert [(finding.action, finding.count) for finding in labels.findings] == [("kept", 1), ("kept", 1)]


def test_of_several_parts_one_must_be_chosen(tmp_path: Path) -> None:
    label_txt(tmp_path / "train")
    label_txt(tmp_path / "val").write_text("# c.jpg\n1 2 3 4\n")
    with pytest.raises(LabelFormatError, match="several parts; choose with --split, one of: train, val"):
        read_labels(tmp_path)
    assert read_labels(tmp_path, split="val").label_images()[0].file_name == "c.jpg"
    with pytest.raises(LabelFormatError, match="no test part"):
        read_labels(tmp_path, split="test")


def test_the_only_part_whose_images_are_there_is_taken(tmp_path: Path) -> None:
    layout(tmp_path, *OFFICIAL_LAYOUT)
    wider_txt(tmp_path / "wider_face_split")
    assert read_labels(tmp_path).image_root == tmp_path / "WIDER_train/images"


def test_a_loose_label_file_goes_to_the_part_whose_images_it_names(tmp_path: Path) -> None:
    official(tmp_path / "wider_face_split")
    write_text(tmp_path / "wider_face_split/wider_face_val_bbx_gt.txt", "other.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n")
    label_txt(tmp_path)
    assert read_labels(tmp_path, split="train").label_images()[0].faces.has_landmarks[0].all()
    assert not read_labels(tmp_path, split="val").label_images()[0].faces.has_landmarks.any()


@pytest.mark.shared
def test_the_shared_val_part_is_joined_without_a_face_lost(shared: Path) -> None:
    labels = read_labels(shared / "data/wider_dev", measure=True)
    assert (len(labels.label_images()), sum(len(image.faces) for image in labels.label_images())) == (404, 6276)
    assert all(np.isfinite(image.faces.attributes["pose"]).all() for image in labels.label_images())
    assert {finding.reason for finding in labels.findings} == {"box without area, ignored"}


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
