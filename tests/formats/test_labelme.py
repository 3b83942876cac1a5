"""labelme's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import FaceTable, read_labels
from tests.formats.label_samples import write_text


def shape(
    label: str, *points: tuple[float, float], kind: str = "rectangle", group: int | None = None
) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


def read(folder: Path, *shapes: object, **changes: Any) -> FaceTable:
    content = {"shapes": shapes, "imagePath": "../images/a.jpg", "imageHeight": 80, "imageWidth": 100} | changes
    return read_labels(write_text(folder / "a.json", json.dumps(content)), format_name="labelme")


def test_rectangles_polygons_and_circles_are_boxes(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        shape("face", (30, 40), (10, 20)),
        shape("face", (50, 5), (70, 15), (60, 30), kind="polygon"),
        shape("face", (50, 40), (53, 44), kind="circle"),
    )
    wanted = [[10, 20, 30, 40], [50, 5, 70, 30], [45, 35, 55, 45]]
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, wanted)
    assert labels.label_images()[0].file_name == "images/a.jpg"


def test_points_go_to_their_group_or_to_the_smallest_face_around_them(tmp_path: Path) -> None:
    labels = read(
        tmp_path,
        shape("face", (0, 0), (90, 70)),
        shape("face", (10, 10), (30, 30), group=5),
        shape("left_eye", (15, 15), kind="point"),
        shape("nose", (60, 60), kind="point"),
        shape("right eye", (29, 12), kind="point", group=5),
        shape("nose", (95, 75), kind="point"),
        shape("ear", (20, 20), kind="point"),
    )
    faces = labels.label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[False, False, True, False, False], [True, True, False, False, False]]
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 2)]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (5, "shapes[0]: expected an object with points, got 5"),
        (
            {"label": "face", "points": [[1, 2]], "shape_type": "rectangle"},
            "shapes[0]: expected 2 points of a rectangle",
        ),
        ({"label": "face", "points": [[1, 2, 3]]}, "shapes[0]: expected points of 2 numbers, got 3"),
        ({"label": "face", "points": [[1, "2"]]}, "shapes[0]: expected points of 2 numbers, got '2'"),
    ],
)
def test_broken_shapes_are_named(broken: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError) as caught:
        read(tmp_path, broken)
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: {message}")


def test_another_json_object_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match=r"expected labelme \.json files with a list of shapes, found none"):
        read_labels(write_text(tmp_path / "a.json", '{"x": 1}'), format_name="labelme")
