"""COCO: labels, and results, whose ids are those of the labels where these are given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import FaceTable, read_labels, read_predictions, write_labels, write_predictions
from retinaface_cli.formats.coco import image_ids, read_image_ids, take_image_ids
from tests.formats.label_samples import write_text

PERSONS_NAMES = ["nose", "left_eye", "right_eye", "mouth_left", "mouth_right"]


def content(**changes: Any) -> dict[str, Any]:
    image = {"id": 7, "file_name": "a.jpg", "width": 100, "height": 100}
    return {"images": [image], "annotations": [annotation()], "categories": [{"id": 3, "name": "face"}]} | changes


def annotation(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]} | changes


def read(folder: Path, value: object, **options: Any) -> FaceTable:
    return read_labels(write_text(folder / "coco.json", json.dumps(value)), format_name="coco", **options)


def test_points_are_found_by_their_names_in_any_order(tmp_path: Path) -> None:
    points = [20, 40, 2, 15, 30, 1, 30, 30, 2, 0, 0, 0, 28, 50, 2]
    category = {"id": 3, "name": "face", "keypoints": PERSONS_NAMES}
    labels = read(tmp_path, content(categories=[category], annotations=[annotation(keypoints=points)]))
    faces = labels.label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[True, True, True, False, True]]
    np.testing.assert_array_equal(faces.landmarks[0, [0, 1, 2, 4]], [[15, 30], [30, 30], [20, 40], [28, 50]])
    assert faces.attributes["occluded_landmarks"].tolist() == [1]


def test_five_points_of_other_names_are_taken_in_their_order(tmp_path: Path) -> None:
    category = {"id": 3, "name": "face", "keypoints": ["a", "b", "c", "d", "e"]}
    points = [value for i in range(5) for value in (20 + i, 30 + i, 2)]
    labels = read(tmp_path, content(categories=[category], annotations=[annotation(keypoints=points)]))
    np.testing.assert_array_equal(labels.label_images()[0].faces.landmarks[0], [[20 + i, 30 + i] for i in range(5)])


def test_a_file_that_names_sides_from_the_persons_view_is_swapped(tmp_path: Path) -> None:
    category = {"id": 3, "name": "face", "keypoints": PERSONS_NAMES}
    points = [25, 40, 2, 32, 30, 1, 18, 30, 2, 31, 50, 2, 19, 50, 2]
    labels = read(tmp_path, content(categories=[category], annotations=[annotation(keypoints=points)] * 3))
    faces = labels.label_images()[0].faces
    np.testing.assert_array_equal(faces.landmarks[0], [[18, 30], [32, 30], [25, 40], [19, 50], [31, 50]])
    assert faces.attributes["occluded_landmarks"].tolist() == [2, 2, 2]
    assert [finding.action for finding in labels.findings] == ["corrected"]


def test_other_classes_and_unlisted_images_are_left_out_and_counted(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "dog"}, {"id": 3, "name": "human face"}]
    annotations = [annotation(), annotation(category_id=1), annotation(image_id=8)]
    labels = read(tmp_path, content(categories=categories, annotations=annotations))
    assert len(labels.label_images()[0].faces) == 1
    kinds = [(finding.action, finding.count) for finding in labels.findings]
    assert kinds == [("chosen", 1), ("dropped", 1), ("dropped", 1)]


def test_a_class_can_be_named_where_none_is_called_face(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "dog"}, {"id": 3, "name": "head"}]
    with pytest.raises(LabelFormatError, match="expected a class called face, got dog, head; say with --class"):
        read(tmp_path, content(categories=categories))
    assert len(read(tmp_path, content(categories=categories), classes=("head",)).label_images()[0].faces) == 1
    with pytest.raises(LabelFormatError, match="no class 'cat'; its classes are dog, head"):
        read(tmp_path, content(categories=categories), classes=("cat",))


def test_crowds_are_ignored_and_attributes_kept_as_numbers(tmp_path: Path) -> None:
    given = {"occluded": True, "blur": 0.5, "who": "Ann"}
    labels = read(tmp_path, content(annotations=[annotation(iscrowd=1, attributes=given)]))
    faces = labels.label_images()[0].faces
    assert faces.ignore.all()
    assert {name: values.tolist() for name, values in faces.attributes.items()} == {"occluded": [1], "blur": [0.5]}
    assert labels.findings[0].reason == "attribute who that is no number, left out"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (content(annotations=[annotation(bbox=[1, 2, 3])]), "annotations[0]: expected 4 box numbers, got 3"),
        (content(annotations=[annotation(bbox=[1, 2, 3, "4"])]), "annotations[0]: expected 4 box numbers, got '4'"),
        (content(annotations=[annotation(keypoints=[1, 2])]), "annotations[0]: expected 15 keypoint numbers, got 2"),
        (content(annotations=[annotation(image_id=[7])]), "annotations[0]: image_id: expected a number, got [7]"),
        (content(annotations=[annotation(iscrowd="no")]), "annotations[0]: iscrowd: expected true or false"),
        (content(images=[{"id": 7}]), "images[0]: expected the name of an image, got None"),
        (
            content(images=[{"id": 7, "file_name": "a", "width": -1, "height": 5}]),
            "images[0]: expected width and height",
        ),
        (content(images=None), "images: expected a list, got None"),
        (content(images=[{"id": 7, "file_name": "a"}] * 2), "images: expected distinct ids, got 1 twice"),
        ([1], "expected an object with images and annotations, got [1]"),
    ],
)
def test_broken_entries_are_named(value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError) as caught:
        read(tmp_path, value)
    assert str(caught.value).startswith(f"{tmp_path / 'coco.json'}: {message}")


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_text(tmp_path / "coco.json", '{"images": [],\n"annotations": [,]}')
    with pytest.raises(LabelFormatError, match=r"coco\.json:2: not JSON"):
        read_labels(path)


def result(**changes: object) -> dict[str, object]:
    return {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5} | changes


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def one_face(*names: str) -> FaceTable:
    faces = FaceDetections(np.ones((1, 4), np.float32), np.full((1, 5, 2), np.nan, np.float32), np.ones(1, np.float32))
    return FaceTable.from_detections(names, [faces] * len(names))


def written_ids(path: Path, table: FaceTable) -> list[Any]:
    write_predictions(path, table, format_name="coco")
    return [face["image_id"] for face in json.loads(path.read_text())]


def test_a_whole_number_is_an_id_however_it_is_written(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path / "p.json", [result(image_id=9.0), result(image_id=9)]))
    assert (table.image_ids, table.num_faces.tolist()) == ([9], [2])


def test_ids_go_from_reading_to_writing(tmp_path: Path) -> None:
    labels = {
        "images": [{"id": 70, "file_name": "1.jpg"}, {"id": 3, "file_name": "2.jpg"}],
        "categories": [{"id": 4, "name": "face"}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 4, "bbox": [1, 2, 3, 4]}],
    }
    table = read_labels(write(tmp_path / "labels.json", labels))
    assert (table.image_ids, table.category_ids) == ([70, 3], (4,))
    write_labels(tmp_path / "again.json", table, format_name="coco")
    assert read_labels(tmp_path / "again.json").image_ids == [70, 3]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("000139.jpg", "x/7.jpg"), [139, 7]),
        (("a.jpg", "a.png"), [1, 2]),
        (("x/1.jpg", "y/1.jpg"), [1, 2]),
        (("clip.mp4/000001.jpg", "other.mp4/000001.jpg", "3.jpg"), [1, 2, 3]),
    ],
)
def test_ids_are_whole_and_distinct_whatever_the_names(
    names: tuple[str, ...], wanted: list[int], tmp_path: Path
) -> None:
    assert written_ids(tmp_path / "p.json", one_face(*names)) == wanted


def test_ids_are_taken_from_labels(tmp_path: Path) -> None:
    images = [{"id": 50, "file_name": "a.jpg"}, {"id": 60, "file_name": "b.jpg"}]
    ids = read_image_ids(write(tmp_path / "labels.json", {"images": images}))
    table, num_left_out = take_image_ids(one_face("in/b.jpg", "c.jpg", "a.jpg"), ids)
    assert (written_ids(tmp_path / "p.json", table), num_left_out) == ([60, 50], 1)


def test_labels_of_other_images_give_no_ids(tmp_path: Path) -> None:
    ids = read_image_ids(write(tmp_path / "labels.json", {"images": [{"id": 5, "file_name": "a.jpg"}]}))
    with pytest.raises(LabelFormatError, match="none of the 1 images"):
        take_image_ids(one_face("x.jpg"), ids)


def test_results_of_several_categories_need_to_know_which_are_faces(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [result(), result(category_id=2, score=0.9)])
    with pytest.raises(LabelFormatError, match=r"several categories \(1, 2\)"):
        read_predictions(path)
    table = read_predictions(path, category_ids=lambda: [1])
    assert table.scores is not None
    assert table.scores.tolist() == [0.5]
    assert [(finding.action, finding.count) for finding in table.findings] == [("dropped", 1)]


def test_ids_that_are_not_distinct_are_numbered_anew() -> None:
    assert image_ids(replace(one_face("a.jpg", "b.jpg"), image_ids=[4, 4])) == [1, 2]
