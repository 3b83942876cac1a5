"""YOLO, YOLO-face and YOLO-pose data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import FaceTable, read_labels
from tests.formats.label_samples import write_png, write_text

BOX = "0 0.5 0.5 0.2 0.5"
"""In an image of 100 x 80: 40, 20, 60, 60."""


def read(folder: Path, text: str, **options: Any) -> FaceTable:
    write_png(folder / "images/a.png")
    write_text(folder / "labels/a.txt", text)
    return read_labels(folder, **options)


@pytest.mark.parametrize(
    ("image", "labels", "source", "split"),
    [
        ("images/a.png", "labels/a.txt", "", None),
        ("images/a.png", "labels/a.txt", "labels", None),
        ("images/train/a.png", "labels/train/a.txt", "", None),
        ("images/train/a.png", "labels/train/a.txt", "labels/train", None),
        ("train/images/a.png", "train/labels/a.txt", "", "train"),
        ("valid/images/a.png", "valid/labels/a.txt", "", "val"),
        ("a.png", "a.txt", "", None),
        ("train/a.png", "train/a.txt", "", None),
    ],
)
def test_the_usual_folders_are_understood(
    image: str, labels: str, source: str, split: str | None, tmp_path: Path
) -> None:
    path = write_png(tmp_path / "set" / image)
    write_text(tmp_path / "set" / labels, f"{BOX}\n")
    found = read_labels(tmp_path / "set" / source, split=split)
    assert found.format_name == "yolo"
    assert found.image_root is not None
    assert found.image_root / found.label_images()[0].file_name == path
    np.testing.assert_array_equal(found.label_images()[0].faces.boxes, [[40, 20, 60, 60]])


@pytest.mark.parametrize("named", ["images/train", "./images/train", "[images/train]", "train.txt"])
def test_data_yaml_says_where_the_images_are(named: str, tmp_path: Path) -> None:
    write_png(tmp_path / "images/train/a.png")
    write_png(tmp_path / "images/val/b.png")
    write_text(tmp_path / "labels/train/a.txt", f"{BOX}\n")
    write_text(tmp_path / "train.txt", "./images/train/a.png\n")
    path = write_text(tmp_path / "data.yaml", f"path: .\ntrain: {named}\nval: images/val\nnames:\n  0: face\n")
    labels = read_labels(path, split="train")
    assert [image.file_name for image in labels.label_images()] == ["a.png"]
    assert len(read_labels(tmp_path, split="val").label_images()[0].faces) == 0
    with pytest.raises(LabelFormatError, match="choose with --split, one of: train, val"):
        read_labels(path)


@pytest.mark.parametrize("line", ["x" * 5000 + ".png", "a\0.png", "nowhere.png"])
def test_a_listed_image_that_is_not_there_is_left_out(line: str, tmp_path: Path) -> None:
    write_text(tmp_path / "data.yaml", "train: train.txt\nnames: [face]\n")
    write_text(tmp_path / "train.txt", f"images/a.png\n{line}\n")
    labels = read(tmp_path, f"{BOX}\n")
    assert [len(image.faces) for image in labels.label_images()] == [1]
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 1)]


def test_a_image_without_a_text_file_has_no_faces(tmp_path: Path) -> None:
    write_png(tmp_path / "images/b.png")
    labels = read(tmp_path, f"{BOX}\n")
    assert [(image.file_name, len(image.faces)) for image in labels.label_images()] == [("a.png", 1), ("b.png", 0)]


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    write_png(tmp_path / "images/e/a.png")
    write_text(tmp_path / "texts/e/a.txt", f"{BOX}\n")
    labels = read_labels(tmp_path / "texts", images=tmp_path / "images")
    assert [image.file_name for image in labels.label_images()] == ["e/a.png"]
    assert len(labels.label_images()[0].faces) == 1


def test_points_of_yolo_face_and_of_yolo_pose_are_read(tmp_path: Path) -> None:
    pairs = "0.45 0.375 0.55 0.375 0.5 0.5 -1 -1 0.55 0.625"
    triples = "0.45 0.375 2 0.55 0.375 1 0.5 0.5 2 0 0 0 0.55 0.625 2"
    faces = read(tmp_path, f"{BOX} {pairs}\n{BOX} {triples}\n").label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[True, True, True, False, True]] * 2
    for points in faces.landmarks:
        np.testing.assert_allclose(points[[0, 1, 2, 4]], [[45, 30], [55, 30], [50, 40], [55, 50]], rtol=1e-6)
    np.testing.assert_array_equal(faces.attributes["occluded_landmarks"], [np.nan, 2])


def test_other_classes_are_left_out_by_their_names(tmp_path: Path) -> None:
    write_text(tmp_path / "data.yaml", "names: [dog, face]\n")
    labels = read(tmp_path, f"{BOX}\n1{BOX[1:]}\n")
    assert len(labels.label_images()[0].faces) == 1
    assert labels.findings[1].examples == (f"{tmp_path / 'labels/a.txt'}:1",)


def test_several_classes_without_names_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match=r"several classes \(0 in .*a\.txt:1 and 4 in .*a\.txt:2\) and no data"):
        read(tmp_path, f"{BOX}\n4{BOX[1:]}\n")


def test_text_files_without_a_image_are_counted(tmp_path: Path) -> None:
    write_text(tmp_path / "labels/lost.txt", f"{BOX}\n")
    labels = read(tmp_path, f"{BOX}\n")
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 1)]


def test_without_images_the_error_says_what_to_do(tmp_path: Path) -> None:
    write_text(tmp_path / "labels/a.txt", f"{BOX}\n")
    with pytest.raises(LabelFormatError, match=r"found no images, .* name their folder with --images"):
        read_labels(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.2\n", "a.txt:1: expected 5 numbers (class cx cy w h), or with five points 15 or 20, got 4"),
        (f"{BOX}\n0 0.5 x 0.2 0.1\n", "a.txt:2: expected a number, got 'x'"),
        ("0.5 0.5 0.5 0.2 0.1\n", "a.txt:1: expected the number of a class first, got '0.5'"),
    ],
)
def test_broken_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError) as caught:
        read(tmp_path, text, format_name="yolo")
    assert str(caught.value) == f"{tmp_path / 'labels'}/{message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: 5\n", "names: expected a list of class names"),
        ("names: [face\n", "not valid YAML"),
        ("- 1\n", "expected names, train and val, got list"),
        ("kpt_shape: 5\n", r"kpt_shape: expected \[number of points"),
        ("train: nowhere\n", "train: nowhere: no such folder"),
    ],
)
def test_a_broken_data_yaml_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    write_text(tmp_path / "data.yaml", text)
    with pytest.raises(LabelFormatError, match=rf"data\.yaml: {message}"):
        read(tmp_path, f"{BOX}\n", format_name="yolo")
