"""Our own JSON and JSON Lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import POINTS, write_text


def image(**changes: Any) -> dict[str, Any]:
    return {"file_name": "a.jpg", "annotations": [{"bbox": [1, 2, 3, 4], "landmarks": []}]} | changes


def face(**changes: Any) -> dict[str, Any]:
    return image(annotations=[{"bbox": [0, 0, 90, 80]} | changes])


@pytest.mark.parametrize("indent", [None, 2])
def test_labels_of_the_old_tool_are_read_however_they_are_laid_out(indent: int | None, tmp_path: Path) -> None:
    missing = [[-1.0, -1.0]] * 5
    content = [image(), image(file_name="b.jpg", annotations=[{"bbox": [1, 2, 9, 9], "landmarks": missing}])]
    labels = read_labels(write_text(tmp_path / "x.json", json.dumps(content, indent=indent)))
    assert [image.file_name for image in labels.label_images()] == ["a.jpg", "b.jpg"]
    assert not labels.label_images()[1].faces.has_landmarks.any()


def test_one_image_alone_is_read_too(tmp_path: Path) -> None:
    labels = read_labels(
        write_text(tmp_path / "a.json", json.dumps(image(file_path="x/a.jpg"), indent=2)), format_name="json"
    )
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, [[1, 2, 3, 4]])


def test_single_missing_points_are_minus_one(tmp_path: Path) -> None:
    content = [face(landmarks=[[-1, -1], *POINTS[1:]])]
    faces = read_labels(write_text(tmp_path / "x.json", json.dumps(content))).label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[False, True, True, True, True]]


def test_attributes_are_unknown_where_a_face_does_not_have_them(tmp_path: Path) -> None:
    annotations = [{"bbox": [0, 0, 9, 9], "attributes": {"blur": 1}}, {"bbox": [0, 0, 9, 9]}]
    content = [image(annotations=annotations)]
    faces = read_labels(write_text(tmp_path / "x.json", json.dumps(content))).label_images()[0].faces
    np.testing.assert_array_equal(faces.attributes["blur"], [1, np.nan])


@pytest.mark.parametrize("content", [[], [image(annotations=[])]])
def test_nothing_is_nothing(content: list[object], tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "x.json", json.dumps(content)))
    assert sum(len(image.faces) for image in labels.label_images()) == 0


def test_findings_have_the_line_where_each_image_has_one(tmp_path: Path) -> None:
    text = "[\n" + json.dumps(image()) + ",\n" + json.dumps(face(bbox=[-5, 0, 5, 5])) + "\n]\n"
    labels = read_labels(write_text(tmp_path / "x.json", text))
    assert labels.findings[0].examples == (f"{tmp_path / 'x.json'}:3",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([face(bbox=[1, 2, 3])], " image 1 (a.jpg): face 1: bbox: expected 4 box numbers, got 3"),
        ([image(), face(bbox=None)], " image 2 (a.jpg): face 1: bbox: expected 4 box numbers, got None"),
        ([face(bbox=[1, 2, 3, "4"])], " image 1 (a.jpg): face 1: bbox: expected 4 box numbers, got [1, 2, 3, '4']"),
        ([face(landmarks=[[1, 2]])], " image 1 (a.jpg): face 1: landmarks: expected no landmarks or 5 pairs x, y"),
        ([face(ignore="no")], " image 1 (a.jpg): ignore: expected true or false, got 'no'"),
        ([face(attributes=[1])], " image 1 (a.jpg): attributes: expected name: number, got [1]"),
        ([face(attributes={"a": "b"})], " image 1 (a.jpg): attributes: a: expected a number, got 'b'"),
        ([image(file_name="")], " image 1: file_name: expected the name of an image, got ''"),
        ([image(annotations=5)], " image 1: a.jpg: expected a list of annotations, got 5"),
        ([image(width=5.5, height=4)], " image 1: expected width and height in whole pixels, got 5.5 x 4"),
        ([5], " image 1: expected an image with file_name and annotations, got 5"),
        ({"a": 1}, "1: expected an image with file_name and annotations, got an object with 'a'"),
    ],
)
def test_broken_entries_are_named(content: object, message: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.json", json.dumps(content))
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, format_name="json")
    assert str(caught.value).startswith(f"{path}:{message}")


def test_a_broken_line_of_json_lines_is_named(tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.jsonl", json.dumps(image()) + "\n\n{]\n")
    with pytest.raises(LabelFormatError, match=r"x\.jsonl:3:1: not JSON"):
        read_labels(path)
