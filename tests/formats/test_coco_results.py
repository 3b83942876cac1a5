"""COCO results: ids are kept from reading to writing, and are those of the labels where these are given."""

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
