"""The table of faces: rows are found, picked and joined without mixing images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.formats.table import FaceTable, Finding


def box_table(*counts: int) -> FaceTable:
    """A table of images `0.jpg`, ... whose boxes hold the number of the face."""
    boxes = np.repeat(np.arange(sum(counts), dtype=np.float32)[:, None], 4, axis=1)
    return FaceTable.from_boxes([f"{i}.jpg" for i in range(len(counts))], counts, boxes)


def test_starts_and_ends_bound_the_faces_of_each_image() -> None:
    table = box_table(2, 0, 3)
    assert table.starts.tolist() == [0, 2, 2]
    assert table.ends.tolist() == [2, 2, 5]
    assert table.image_index.tolist() == [0, 0, 2, 2, 2]


def test_images_are_picked_in_the_order_asked_for_with_their_faces() -> None:
    picked = box_table(2, 1, 3).select_images(np.array([2, 0]))
    assert list(picked.file_names) == ["2.jpg", "0.jpg"]
    assert picked.boxes[:, 0].tolist() == [3, 4, 5, 0, 1]
    assert picked.num_faces.tolist() == [3, 2]


def test_images_stay_when_their_faces_go() -> None:
    picked = box_table(2, 1).select_faces(np.array([False, False, True]))
    assert picked.num_faces.tolist() == [0, 1]
    assert picked.boxes[:, 0].tolist() == [2]


def test_tables_are_joined_with_attributes_and_findings_of_all() -> None:
    faces = FaceLabels(
        boxes=np.ones((1, 4), np.float32),
        landmarks=np.zeros((1, 5, 2), np.float32),
        has_landmarks=np.ones((1, 5), np.bool_),
        ignore=np.ones(1, np.bool_),
        attributes={"blur": np.array([2], np.float32)},
    )
    first, second = box_table(1), FaceTable.from_labels(["b.jpg"], [faces], image_sizes=[[4, 5]])
    joined = FaceTable.concatenate([first, second])
    assert list(joined.file_names) == ["0.jpg", "b.jpg"]
    np.testing.assert_array_equal(joined.attributes["blur"], [np.nan, 2])
    assert joined.image_sizes.tolist() == [[0, 0], [4, 5]]
    assert joined.labels()[1].ignore.tolist() == [True]


def test_detections_of_each_image_are_given_as_they_came() -> None:
    faces = FaceDetections(np.ones((2, 4), np.float32), np.full((2, 5, 2), np.nan, np.float32), np.array([0.9, 0.5]))
    table = FaceTable.from_detections(["a.jpg", "b.jpg"], [faces, FaceDetections.empty()])
    assert [len(part) for part in table.detections()] == [2, 0]
    np.testing.assert_allclose(table.detections()[0].scores, [0.9, 0.5])
    assert not table.has_landmarks.any()


def test_a_face_has_a_place_for_messages() -> None:
    table = box_table(1, 2)
    with_lines = FaceTable(**{**vars(table), "sources": [Path("x.txt")] * 2, "lines": np.array([0, 0, 7])})
    assert with_lines.place(1) == "x.txt: 1.jpg, face 1"
    assert with_lines.place(2) == "x.txt:7"


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="num_faces"):
        FaceTable.from_boxes(["a.jpg"], [2], np.zeros((1, 4)))


def test_a_choice_is_no_fault() -> None:
    assert Finding("class 'face' taken", "chosen", 1, ()).describe() == "class 'face' taken"
    assert not Finding("class 'face' taken", "chosen", 1, ()).is_fault
