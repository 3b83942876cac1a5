from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.data.batches import ValidationBatch
from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.formats.wider_ground_truth import WiderImage
from retinaface_cli.training.validation import ValidationRecorder, wider_name
from tests.data.painted import face_labels
from tests.training.training_making import validation_batch


def detections_like(faces: FaceLabels, *, scores: list[float], shift: float = 0.0) -> FaceDetections:
    return FaceDetections(faces.boxes, faces.landmarks + shift, np.array(scores, np.float32))


def batch_of(names: list[str], faces: list[FaceLabels], indices: list[int]) -> ValidationBatch:
    made = validation_batch(indices)
    return ValidationBatch(made.images, made.resizers, tuple(faces), tuple(names), tuple(indices))


def test_an_image_that_comes_twice_counts_once() -> None:
    recorder = ValidationRecorder()
    faces = face_labels((10, 10, 50, 50))
    batch = batch_of(["a.jpg", "b.jpg"], [faces, face_labels()], [0, 1])
    recorder.add(batch, [FaceDetections.empty(), FaceDetections.empty()])
    recorder.add(batch, [detections_like(faces, scores=[0.9]), detections_like(faces, scores=[0.8])])
    figures = recorder.measure()
    assert figures["ap50"] == 1.0  # the face is found first, the false one in b.jpg comes after
    assert figures["nme_box"] == 0.0


def test_figures_start_anew_after_each_validation_and_leave_out_what_cannot_be_measured() -> None:
    recorder = ValidationRecorder()
    faces = FaceLabels.from_boxes([[10, 10, 50, 50]])
    batch = batch_of(["a.jpg"], [faces], [0])
    recorder.add(batch, [FaceDetections(faces.boxes, np.zeros((1, 5, 2), np.float32), np.ones(1, np.float32))])
    assert recorder.measure() == {"ap50": 1.0}
    recorder.add(batch, [FaceDetections.empty()])
    assert recorder.measure() == {"ap50": 0.0}


def test_equal_names_in_two_label_files_are_two_images() -> None:
    recorder = ValidationRecorder()
    faces = face_labels((10, 10, 50, 50))
    recorder.add(batch_of(["a.jpg"], [faces], [0]), [detections_like(faces, scores=[0.9])])
    recorder.add(batch_of(["a.jpg"], [faces], [1]), [FaceDetections.empty()])
    assert recorder.measure()["ap50"] == pytest.approx(0.5)


def test_landmark_error_is_a_part_of_the_box() -> None:
    recorder = ValidationRecorder()
    faces = face_labels((10, 10, 50, 50))  # eyes 16 apart, box 40 wide
    found = FaceDetections(faces.boxes, faces.landmarks + np.array([3, 4], np.float32), np.ones(1, np.float32))
    recorder.add(batch_of(["a.jpg"], [faces], [0]), [found])
    figures = recorder.measure()
    assert figures["nme_box"] == pytest.approx(5 / 40)
    assert figures["nme_eyes"] == pytest.approx(5 / 16)


def test_wider_subsets_are_measured_with_their_own_boxes() -> None:
    found_box, missed_box = [10.0, 10, 50, 50], [100.0, 100, 120, 120]
    truth = WiderImage(
        boxes=np.array([found_box, missed_box]),
        is_counted={
            "easy": np.array([True, False]),
            "medium": np.array([True, True]),
            "hard": np.array([False, True]),
        },
    )
    recorder = ValidationRecorder({"0--Parade/a.jpg": truth, "0--Parade/unseen.jpg": truth})
    faces = face_labels((10, 10, 50, 50))
    names = ["images/0--Parade/a.jpg", "other/b.jpg"]
    detections = [detections_like(faces, scores=[0.9]), detections_like(faces, scores=[0.95])]
    recorder.add(batch_of(names, [faces, face_labels()], [0, 1]), detections)
    figures = recorder.measure()
    assert figures["wider_easy"] == pytest.approx(1.0)
    assert figures["wider_medium"] == pytest.approx(0.5)
    assert figures["wider_hard"] == pytest.approx(0.0)


def test_the_last_two_parts_of_a_path_name_a_wider_image() -> None:
    assert wider_name("WIDER_val/images/0--Parade/x.jpg") == wider_name("/0--Parade/x.jpg") == "0--Parade/x.jpg"
    assert wider_name("x.jpg") == "x.jpg"
