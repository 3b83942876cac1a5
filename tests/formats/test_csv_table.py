"""CSV tables of faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import write_text


@pytest.mark.parametrize(
    "text",
    [
        "file_name,x_min,y_min,x_max,y_max\na.jpg,1,2,11,22\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,64,48,face,1,2,11,22\n",
        "Image;X;Y;W;H\na.jpg;1;2;10;20\n",
        "path\tx\ty\twidth\theight\na.jpg\t1\t2\t10\t20\n",
        "image_path,left,top,right,bottom,label\n./a.jpg,1,2,11,22,face\n",
        "a.jpg,1,2,11,22,face\n",
        '"a.jpg",1,2,11,22,face\n',
    ],
)
def test_columns_are_found_by_their_names(text: str, tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "labels.csv", text))
    assert labels.label_images()[0].file_name == "a.jpg"
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, [[1, 2, 11, 22]])
    assert labels.label_images()[0].faces.attributes == {}


def test_width_and_height_beside_corners_are_the_images(tmp_path: Path) -> None:
    text = "filename,width,height,xmin,ymin,xmax,ymax\na.jpg,64,48,1,2,11,22\n"
    image = read_labels(write_text(tmp_path / "labels.csv", text)).label_images()[0]
    assert (image.width, image.height) == (64, 48)


def test_rows_of_a_image_come_together_and_empty_boxes_are_no_faces(tmp_path: Path) -> None:
    text = "image,x1,y1,x2,y2\na.jpg,1,2,3,4\nb.jpg,,,,\na.jpg,5,6,7,8\n"
    labels = read_labels(write_text(tmp_path / "labels.csv", text))
    assert [(image.file_name, len(image.faces)) for image in labels.label_images()] == [("a.jpg", 2), ("b.jpg", 0)]


def test_points_marks_and_further_numbers_are_read(tmp_path: Path) -> None:
    text = "image,x1,y1,x2,y2,eyeLeftX,eyeLeftY,nose tip x,nose tip y,ignore,blur,who\n"
    text += "a.jpg,1,2,90,80,10,20,30,40,1,2,Ann\n"
    labels = read_labels(write_text(tmp_path / "labels.csv", text))
    faces = labels.label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[True, False, True, False, False]]
    np.testing.assert_array_equal(faces.landmarks[0, [0, 2]], [[10, 20], [30, 40]])
    assert faces.ignore.all()
    assert faces.attributes["blur"].tolist() == [2]
    assert [finding.reason for finding in labels.findings] == ["who that is no number, left out"]


def test_other_classes_are_left_out(tmp_path: Path) -> None:
    text = "a.jpg,1,2,3,4,dog\na.jpg,5,6,7,8,face\nb.jpg,,,,,\n"
    labels = read_labels(write_text(tmp_path / "labels.csv", text))
    assert [len(image.faces) for image in labels.label_images()] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,x1,y1,x2,y2\na.jpg,1,2,3\n", ":2: expected 5 fields, got 4"),
        ("image,x1,y1,x2,y2\na.jpg,1,2,3,x\n", ":2: expected a box number, got 'x'"),
        ("image,x1,y1,x2,y2\n,1,2,3,4\n", ":2: expected the name of an image, got ''"),
        ("image,x1,y1\na.jpg,1,2\n", ":1: expected columns file_name, x_min, y_min, x_max, y_max"),
        ("image,x1,y1,x2,y2,ignore\na.jpg,1,2,3,4,maybe\n", ":2: ignore: expected 0 or 1, got 'maybe'"),
        ("\n\n", ":1: expected a table of faces, got an empty file"),
    ],
)
def test_broken_rows_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "labels.csv", text)
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, format_name="csv")
    assert str(caught.value).startswith(f"{path}{message}")
