"""Scores of parts of the faces."""

from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.evaluation.breakdown import GroupResult, evaluate_groups
from retinaface_cli.evaluation.landmarks import LandmarkErrors
from tests.evaluation.images import detected, labelled, matched

SMALL = (0, 0, 10, 15)
LIMIT = (50, 0, 60, 16)
LARGE = (100, 0, 300, 200)


def named(groups: tuple[GroupResult, ...], kind: str) -> dict[str, GroupResult]:
    return {group.name: group for group in groups if group.kind == kind}


def test_faces_are_parted_by_height_and_a_limit_belongs_above() -> None:
    groups = evaluate_groups(matched([labelled(SMALL, LIMIT, LARGE)], [detected((0.9, LIMIT), (0.8, LARGE))]))
    heights = named(groups, "height")
    assert {name: (group.num_faces, group.recall, group.ap50) for name, group in heights.items()} == {
        "< 16 px": (1, 0.0, 0.0),
        "16-32 px": (1, 1.0, 1.0),
        ">= 128 px": (1, 1.0, 1.0),
    }


def test_a_false_positive_hurts_the_bucket_of_its_own_height() -> None:
    wrong = (400, 0, 410, 20)  # 20 px high
    groups = evaluate_groups(matched([labelled(LIMIT, LARGE)], [detected((0.9, wrong), (0.8, LIMIT), (0.7, LARGE))]))
    assert {name: group.ap50 for name, group in named(groups, "height").items()} == {"16-32 px": 0.5, ">= 128 px": 1.0}


def test_attributes_get_the_names_that_wider_face_gives_them() -> None:
    faces = labelled(SMALL, LIMIT, LARGE, blur=[0, 2, np.nan], quality=[0.5, 3, 3], ignore=[False, False, True])
    groups = evaluate_groups(matched([faces], [detected((0.9, SMALL))]))
    assert {name: group.recall for name, group in named(groups, "blur").items()} == {"clear": 1.0, "heavy": 0.0}
    assert {name: group.num_faces for name, group in named(groups, "quality").items()} == {"0.5": 1, "3": 1}


def test_occluded_landmarks_are_none_some_or_all() -> None:
    faces = labelled(SMALL, LIMIT, LARGE, occluded_landmarks=[0, 5, 31])
    groups = evaluate_groups(matched([faces], [detected((0.9, LIMIT))]))
    recalls = {name: group.recall for name, group in named(groups, "occluded_landmarks").items()}
    assert recalls == {"none": 0.0, "some": 1.0, "all": 0.0}


def test_a_measurement_is_no_attribute_with_groups() -> None:
    boxes = [(30.0 * i, 0.0, 30.0 * i + 20, 20.0) for i in range(12)]
    faces = labelled(*boxes, yaw=[float(i) for i in range(12)])
    assert named(evaluate_groups(matched([faces], [])), "yaw") == {}


def test_events_are_the_first_folders_and_keep_their_false_positives() -> None:
    labels = [labelled(SMALL, name="10--B/x.jpg"), labelled(SMALL, name="2--A/x.jpg")]
    detections = [detected((0.9, LARGE), (0.8, SMALL), name="10--B/x.jpg"), detected((0.5, SMALL), name="2--A/x.jpg")]
    events = named(evaluate_groups(matched(labels, detections)), "event")
    assert list(events) == ["2--A", "10--B"]
    assert [group.ap50 for group in events.values()] == pytest.approx([1.0, 0.5])


def test_landmark_errors_are_averaged_over_each_group() -> None:
    faces = labelled(LIMIT, LARGE)
    matches = matched([faces], [detected((0.9, LIMIT), (0.8, LARGE))])
    errors = LandmarkErrors(
        faces=np.array([0, 1]),
        distances=np.array([[1.0, 3.0, np.nan, np.nan, np.nan], [20.0] * 5]),
        eye_distances=np.array([8.0, 80.0]),
        box_sizes=np.array([10.0, 200.0]),
    )
    heights = named(evaluate_groups(matches, errors), "height")
    assert heights["16-32 px"].nme_box == pytest.approx(0.2)
    assert heights[">= 128 px"].nme_box == pytest.approx(0.1)


def test_one_folder_is_no_breakdown() -> None:
    assert named(evaluate_groups(matched([labelled(SMALL, name="a/x.jpg")], [])), "event") == {}
