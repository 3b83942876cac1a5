"""Names of images in predictions and labels, and wrong use that is noticed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.commands.evaluate.predictions import make_candidate, read_run_file
from retinaface_cli.commands.evaluate.truth import GroundTruth, read_truth
from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceDetections, ImageDetections, ImageLabels
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.images import pair_names
from tests.commands.evaluate_making import A, B, write_labels
from tests.evaluation.images import detected, labelled

LABELS = [labelled(A, B, name="0--Parade/a.jpg"), labelled(B, name="1--Handshaking/b.jpg")]


def truth_of(images: Sequence[ImageLabels], *, name: str = "l") -> GroundTruth:
    faces = FaceTable.from_images(images)
    return GroundTruth(name, "json", faces, {"all": ~faces.ignore})


TRUTH = truth_of(LABELS, name="labels.json")


def notes(*images: ImageDetections, truth: GroundTruth = TRUTH) -> str:
    return "\n".join(make_candidate(FaceTable.from_images(images), truth, name="p", run={}).notes)


def with_ids(images: Sequence[ImageDetections], ids: list[int | str]) -> FaceTable:
    return replace(FaceTable.from_images(images), image_ids=ids)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("0--Parade/a.jpg", "0--Parade/a.jpg"),
        ("0--Parade/a", "0--Parade/a.jpg"),
        ("0--Parade/a.png", "0--Parade/a.jpg"),
        ("a.jpg", "0--Parade/a.jpg"),
        ("WIDER_val/images/0--Parade/a.jpg", "0--Parade/a.jpg"),
        ("/data/val/0--Parade/a", "0--Parade/a.jpg"),
        ("139", "000000139.jpg"),
        ("c.v2", "c.v2.jpg"),
        ("2--Other/a.jpg", None),
        ("x.jpg", None),
        ("twice.jpg", None),
    ],
)
def test_a_prediction_is_tied_to_its_image(name: str, label: str | None) -> None:
    labels = ["0--Parade/a.jpg", "1--Handshaking/b.jpg", "000000139.jpg", "c.v2.jpg", "x/twice.jpg", "y/twice.jpg"]
    (found,) = pair_names([name], labels)
    assert (None if found is None else labels[found]) == label


def test_the_same_name_goes_before_a_like_one() -> None:
    assert pair_names(["a.png", "a.jpg"], ["a.jpg", "a.png"]) == [1, 0]


def test_two_predictions_for_one_image_are_an_error() -> None:
    with pytest.raises(LabelFormatError, match=r"a\.png and .*a\.jpg are both taken for"):
        notes(detected(name="0--Parade/a.png"), detected(name="0--Parade/a.jpg"))


def test_predictions_for_other_images_are_an_error_and_for_some_a_note() -> None:
    with pytest.raises(LabelFormatError, match=r"none of its 1 images is in labels.json: it names c/d.jpg"):
        notes(detected((0.01, A), name="c/d.jpg"))
    with pytest.raises(LabelFormatError, match="holds no predictions"):
        notes()
    found = notes(detected((0.01, A), name="c/d.jpg"), detected((0.01, A), name="0--Parade/a.jpg"))
    assert "left out, as the labels do not have them: 1 image (c/d.jpg)" in found
    assert "1 labelled images have no predictions and count as none (1--Handshaking/b.jpg)" in found


def test_good_predictions_bring_no_notes() -> None:
    assert notes(detected((0.9, A), (0.02, B), name="a.jpg"), detected((0.5, B), name="b.jpg")) == ""


def test_a_high_lowest_score_is_noticed() -> None:
    assert "lowest score is 0.300" in notes(detected((0.9, A), name="a.jpg"), detected((0.3, B), name="b.jpg"))
    assert "not a single face" in notes(detected(name="a.jpg"), detected(name="b.jpg"))


def test_sizes_in_place_of_corners_are_noticed() -> None:
    assert "seem to be x, y, width, height" in notes(detected((0.05, (40, 0, 30, 30)), name="b.jpg"))
    far = labelled((400, 300, 430, 330), name="b.jpg")
    as_sizes = detected((0.05, (400, 300, 400 + 430, 300 + 330)), name="b.jpg")
    assert "seem to be corners" in notes(as_sizes, truth=truth_of([far]))


def test_boxes_as_parts_of_the_image_are_noticed() -> None:
    assert "parts of the image's size" in notes(detected((0.05, (0.1, 0.1, 0.5, 0.6)), name="b.jpg"))


def test_coco_ids_are_looked_up_in_the_label_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    content = {
        "images": [{"id": 7, "file_name": "x/a.jpg", "width": 100, "height": 100}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 20, 20], "iscrowd": 0}],
        "categories": [{"id": 1, "name": "face"}],
    }
    path.write_text(json.dumps(content))
    candidate = make_candidate(with_ids([detected((0.05, A), name="7")], [7]), read_truth(path), name="p", run={})
    assert (candidate.faces.file_names, candidate.num_faces) == (["x/a.jpg"], 1)


def test_an_id_that_the_labels_do_not_list_is_no_number_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    content = {
        "images": [{"id": 1, "file_name": "2.jpg"}, {"id": 2, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 20, 20]}],
        "categories": [{"id": 1, "name": "face"}],
    }
    path.write_text(json.dumps(content))
    images = [detected((0.05, A), name="1"), detected((0.05, A), name="3")]
    candidate = make_candidate(with_ids(images, [1, 3]), read_truth(path), name="p", run={})
    assert candidate.faces.num_faces.tolist() == [1, 0]  # of 2.jpg and 1.jpg


def test_labels_without_a_counted_face_or_without_images_are_an_error(tmp_path: Path) -> None:
    ignored = write_labels(tmp_path / "ignored.json", [labelled(A, name="a.jpg", ignore=[True])])
    with pytest.raises(LabelFormatError, match="no face counts: 1 faces, 1 of them ignored"):
        read_truth(ignored)
    with pytest.raises(LabelFormatError, match="holds no images"):
        read_truth(write_labels(tmp_path / "none.json", []))


def test_what_infer_noted_beside_its_results_is_found(tmp_path: Path) -> None:
    assert read_run_file(tmp_path) == {}
    run = {"weights": "w", "weights_sha256": "00", "settings": {"short_side": 1600, "max_size": 2150, "tta": ["flip"]}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    for path in (tmp_path, tmp_path / "predictions.json", tmp_path / "wider"):
        if path.name == "wider":
            path.mkdir()
        assert read_run_file(path) == run
    candidate = make_candidate(FaceTable.from_images([detected((0.05, A), name="a.jpg")]), TRUTH, name="p", run=run)
    assert candidate.scale == "1600x2150, flip"


def test_the_fingerprint_tells_labels_apart() -> None:
    moved = [labelled(A, (40, 0, 70, 31), name="0--Parade/a.jpg"), LABELS[1]]
    ignored = [labelled(A, B, name="0--Parade/a.jpg", ignore=[True, False]), LABELS[1]]
    prints = {truth_of(images).fingerprint for images in (LABELS, moved, ignored)}
    assert len(prints) == 3
    assert TRUTH.fingerprint in prints


def test_landmarks_count_only_on_faces_that_count() -> None:
    assert not TRUTH.has_landmarks
    faces = LABELS[1].faces
    points = np.zeros((1, 5, 2), np.float32)
    has = np.ones((1, 5), np.bool_)
    for ignore in (False, True):
        changed = type(faces)(faces.boxes, points, has, np.array([ignore]))
        image = type(LABELS[1])("b.jpg", changed)
        assert truth_of([image]).has_landmarks is not ignore
    assert isinstance(detected().faces, FaceDetections)
