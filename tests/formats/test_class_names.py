"""Names of classes and points."""

from __future__ import annotations

import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_NAMES
from retinaface_cli.formats.class_names import choose_face_classes, landmark_index, landmark_positions
from retinaface_cli.formats.reader import ReadingOptions, TableBuilder


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("left_eye", "left_eye"),
        ("eyeLeft", "left_eye"),
        ("r eye", "right_eye"),
        ("RightEye", "right_eye"),
        ("nose tip", "nose"),
        ("Nose", "nose"),
        ("mouth-l", "left_mouth"),
        ("right_mouth_corner", "right_mouth"),
        ("leftmouth", "left_mouth"),
        ("eye", None),
        ("left_ear", None),
        ("", None),
    ],
)
def test_points_are_known_by_many_names(name: str, wanted: str | None) -> None:
    index = landmark_index(name)
    assert (None if index is None else LANDMARK_NAMES[index]) == wanted


def test_a_name_that_comes_twice_is_no_landmark() -> None:
    assert landmark_positions(["nose", "left_eye", "eye_left", "mouth_right"]) == {2: 0, 4: 3}


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        ([], (), set()),
        (["0"], (), {"0"}),
        (["no_face", "face"], (), {"face"}),
        (["faces", "non-face", "surface"], (), {"faces"}),
        (["person"], ("person",), {"person"}),
        (["dog", "Human face", "face_mask"], (), {"Human face", "face_mask"}),
        (["dog", "head"], ("head",), {"head"}),
    ],
)
def test_the_classes_that_are_faces(names: list[str], wanted: tuple[str, ...], chosen: set[str]) -> None:
    assert choose_face_classes(names, ReadingOptions(classes=wanted), "x") == chosen


@pytest.mark.parametrize("name", ["person", "Persons", "body", "head", "car", "no_face", "not face", "women"])
def test_a_single_class_of_something_else_is_no_face(name: str) -> None:
    with pytest.raises(LabelFormatError, match="expected a class called face"):
        choose_face_classes([name], ReadingOptions(), "x")


@pytest.mark.parametrize(("names", "count"), [(["face"], 0), (["Face"], 0), (["0"], 1), (["face", "no_face"], 1)])
def test_a_guess_is_told(names: list[str], count: int) -> None:
    builder = TableBuilder()
    choose_face_classes(names, ReadingOptions(), "x", builder)
    assert [finding.action for finding in builder.build().findings] == ["chosen"] * count
