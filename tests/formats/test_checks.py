"""What becomes of faces that cannot be right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.checks import check_labels
from retinaface_cli.formats.reader import Face, Point, TableBuilder
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, FaceTable

UPRIGHT: tuple[Point, ...] = ((30, 30), (70, 30), (50, 50), (35, 70), (65, 70))
MIRRORED: tuple[Point, ...] = tuple((100 - x, y) for x, y in UPRIGHT)


def table(*faces: Face, size: tuple[int, int] = (0, 0), corners: bool = True, known: bool = True) -> FaceTable:
    builder = TableBuilder()
    builder.add_image("a.jpg", Path("labels.txt"), size=size)
    for face in faces:
        builder.add_face(face)
    return builder.build(boxes_are_corners=corners, is_order_known=known)


def summary(findings: object) -> list[tuple[str, int]]:
    return [(finding.action, finding.count) for finding in findings]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("box", "wanted", "ignored", "action"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40), False, None),
        ((-5, 20, 30, 40), (0, 20, 30, 40), False, "corrected"),
        ((10, 20, 130, 95), (10, 20, 100, 80), False, "corrected"),
        ((10, 20, 100.004, 80), (10, 20, 100, 80), False, None),
        ((30, 40, 10, 20), (10, 20, 30, 40), False, "corrected"),
        ((10, 20, 10, 40), (10, 20, 10, 40), True, "ignored"),
        ((150, 20, 160, 40), (100, 20, 100, 40), True, "ignored"),
        ((50, 0, 50.000001, 5), (50, 0, 50, 5), True, "ignored"),
    ],
)
def test_boxes_are_sorted_and_clipped_and_ignored_without_area(
    box: tuple[float, ...], wanted: tuple[float, ...], ignored: bool, action: str | None
) -> None:
    checked = check_labels(table(Face(box), size=(80, 100)))
    faces = checked.label_images()[0].faces
    np.testing.assert_array_equal(faces.boxes, [wanted])
    assert faces.ignore.tolist() == [ignored]
    assert summary(checked.findings) == ([(action, 1)] if action else [])


def test_without_a_size_a_box_is_clipped_at_the_left_and_top_alone() -> None:
    faces = check_labels(table(Face((-1, -2, 5000, 6000)))).label_images()[0].faces
    np.testing.assert_array_equal(faces.boxes, [[0, 0, 5000, 6000]])


def test_a_box_of_negative_width_is_ignored() -> None:
    checked = check_labels(table(Face((50, 10, 24, 60)), corners=False))
    np.testing.assert_array_equal(checked.label_images()[0].faces.boxes, [[24, 10, 50, 60]])
    assert checked.label_images()[0].faces.ignore.all()
    assert summary(checked.findings) == [("ignored", 1)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e7])
def test_a_box_that_is_not_in_any_image_is_dropped_with_its_place(value: float) -> None:
    checked = check_labels(table(Face((0, 0, 5, 5)), Face((0, value, 5, 5), line=7)))
    assert len(checked.label_images()[0].faces) == 1
    assert summary(checked.findings) == [("dropped", 1)]
    assert checked.findings[0].examples == ("labels.txt:7",)


def test_only_the_first_places_are_named_and_all_are_counted() -> None:
    checked = check_labels(table(*(Face((-1, 0, 5, 5), line=i) for i in range(1, 9))))
    assert checked.findings[0].describe() == (
        "box over the border of the image, clipped: 8 (labels.txt:1, labels.txt:2, labels.txt:3, ...)"
    )


def test_a_face_without_a_line_is_placed_by_its_number_in_the_image() -> None:
    checked = check_labels(table(Face((0, 0, 5, 5)), Face((-1, 0, 5, 5))))
    assert checked.findings[0].examples == ("labels.txt: a.jpg, face 2",)


@pytest.mark.parametrize(
    ("policy", "ignored"), [("ignore", [True, False, True]), ("keep", [False, False, True]), ("drop", [False])]
)
def test_invalid_faces_are_ignored_kept_or_dropped(policy: str, ignored: list[bool]) -> None:
    faces = (Face((0, 0, 9, 9), ignore=True), Face((0, 0, 9, 9)), Face((0, 0, 0, 9)))
    checked = check_labels(table(*faces), invalid=policy)  # type: ignore[arg-type]
    assert checked.label_images()[0].faces.ignore.tolist() == ignored


def test_faces_whose_shorter_side_is_below_the_smallest_size_are_ignored() -> None:
    faces = (Face((0, 0, 9.5, 50)), Face((0, 0, 10, 10)))
    checked = check_labels(table(*faces), min_size=10)
    assert checked.label_images()[0].faces.ignore.tolist() == [True, False]
    assert summary(checked.findings) == [("requested", 1)]


@pytest.mark.parametrize("point", [(np.nan, 30), (30, np.inf), (301, 50), (50, -201)])
def test_a_landmark_that_cannot_be_this_faces_is_taken_as_missing(point: Point) -> None:
    checked = check_labels(table(Face((0, 0, 100, 100), (point, *UPRIGHT[1:]))))
    faces = checked.label_images()[0].faces
    assert faces.has_landmarks.tolist() == [[False, True, True, True, True]]
    assert np.isnan(faces.landmarks[0, 0]).all()
    assert summary(checked.findings) == [("corrected", 1)]


def test_a_landmark_outside_the_image_but_near_its_face_is_kept() -> None:
    checked = check_labels(table(Face((0, 0, 100, 100), ((-20, 30), *UPRIGHT[1:])), size=(100, 100)))
    np.testing.assert_array_equal(checked.label_images()[0].faces.landmarks[0, 0], [-20, 30])
    assert checked.findings == ()


def test_minus_one_is_a_missing_landmark() -> None:
    checked = check_labels(table(Face((0, 0, 100, 100), ((-1, -1), *UPRIGHT[1:]))))
    assert checked.label_images()[0].faces.has_landmarks[0].tolist() == [False, True, True, True, True]
    assert checked.findings == ()


def test_landmarks_of_a_whole_source_from_the_persons_view_are_swapped_with_their_occlusion() -> None:
    faces = [Face((0, 0, 100, 100), MIRRORED, attributes={OCCLUDED_LANDMARKS: 1 + 8}) for _ in range(3)]
    checked = check_labels(table(*faces, known=False))
    np.testing.assert_array_equal(checked.label_images()[0].faces.landmarks[0], [MIRRORED[i] for i in (1, 0, 2, 4, 3)])
    assert checked.label_images()[0].faces.attributes[OCCLUDED_LANDMARKS].tolist() == [2 + 16] * 3
    assert summary(checked.findings) == [("corrected", 3)]


def test_a_face_seen_in_a_mirror_is_kept_and_noted_where_the_order_is_known() -> None:
    faces = [Face((0, 0, 100, 100), MIRRORED)] * 3
    checked = check_labels(table(*faces))
    np.testing.assert_array_equal(checked.label_images()[0].faces.landmarks[0], MIRRORED)
    assert summary(checked.findings) == [("kept", 3)]


def test_a_face_upside_down_is_not_mirrored() -> None:
    turned = [(100 - x, 100 - y) for x, y in UPRIGHT]
    checked = check_labels(table(*[Face((0, 0, 100, 100), turned)] * 3, known=False))
    np.testing.assert_array_equal(checked.label_images()[0].faces.landmarks[0], turned)
    assert checked.findings == ()


def test_an_attribute_that_float32_cannot_hold_is_unknown() -> None:
    checked = check_labels(table(Face((0, 0, 9, 9), attributes={"blur": 1e39})))
    assert np.isnan(checked.label_images()[0].faces.attributes["blur"]).all()
    assert summary(checked.findings) == [("corrected", 1)]


def test_no_faces_at_all_are_no_findings() -> None:
    checked = check_labels(TableBuilder().build())
    assert checked.label_images() == []
    assert checked.findings == ()


def test_boxes_in_parts_of_1_are_scaled_with_their_landmarks() -> None:
    points: tuple[Point, ...] = ((0.2, 0.25), (0.3, 0.25), (0.25, 0.4), (0.2, 0.5), (0.3, 0.5))
    checked = check_labels(table(Face((0.1, 0.1, 0.4, 0.75), points), size=(80, 100)))
    np.testing.assert_allclose(checked.boxes, [[10, 8, 40, 60]], rtol=1e-6)
    np.testing.assert_allclose(checked.landmarks[0, 0], [20, 20], rtol=1e-6)
    assert [(finding.action, finding.count) for finding in checked.findings] == [("chosen", 1)]


def test_boxes_in_parts_of_1_without_a_size_are_refused() -> None:
    with pytest.raises(LabelFormatError, match=r"labels\.txt.*parts of the image.*--images"):
        check_labels(table(Face((0.1, 0.1, 0.4, 0.75))))


def test_one_pixel_is_no_part_of_1() -> None:
    np.testing.assert_array_equal(check_labels(table(Face((0, 0, 1, 1)))).boxes, [[0, 0, 1, 1]])
