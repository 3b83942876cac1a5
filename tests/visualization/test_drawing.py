from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from retinaface_cli.faces import FaceDetections, FaceLabels, RgbImage
from retinaface_cli.visualization.drawing import (
    CLASSIC_STYLE,
    LABEL_STYLE,
    OUTER_LABEL_STYLE,
    PREDICTION_STYLE,
    DrawStyle,
    draw_faces,
)

BLUE, ORANGE = LABEL_STYLE.color, PREDICTION_STYLE.color


def plain(value: int, height: int = 400, width: int = 500) -> RgbImage:
    return np.full((height, width, 3), value, np.uint8)


def detections(boxes: Sequence[Sequence[float]], scores: Sequence[float] | None = None) -> FaceDetections:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    low, size = corners[:, None, :2], corners[:, None, 2:] - corners[:, None, :2]
    places = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
    return FaceDetections(corners, low + size * places, np.array(scores or [1.0] * len(corners), np.float32))


def labels(boxes: Sequence[Sequence[float]], *, ignore: bool = False) -> FaceLabels:
    return FaceLabels(
        np.array(boxes, np.float32),
        np.full((len(boxes), 5, 2), np.nan, np.float32),
        np.zeros((len(boxes), 5), np.bool_),
        np.full(len(boxes), ignore),
    )


def has_color(image: RgbImage, color: tuple[int, int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """(H, W) pixels of about that color."""
    return np.abs(image.astype(int) - color).max(axis=2) < 12  # type: ignore[no-any-return]


def test_a_box_lies_where_the_face_is() -> None:
    drawn = draw_faces(plain(0), detections([[100, 80, 220, 240]]), style=DrawStyle(ORANGE, has_scores=False))
    rows, columns = np.nonzero(has_color(drawn, ORANGE))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (100, 80, 220, 240)
    assert has_color(drawn, ORANGE)[80, 100:220].all()
    assert not drawn[110:140, 110:130].any()


def test_each_point_is_drawn_in_its_color_at_its_place() -> None:
    faces = detections([[100, 80, 220, 240]])
    drawn = draw_faces(plain(0), faces)
    for (x, y), color in zip(faces.landmarks[0].tolist(), PREDICTION_STYLE.point_colors, strict=True):
        assert np.abs(drawn[int(y), int(x)].astype(int) - color).max() < 12


def test_points_that_are_not_known_are_left_out() -> None:
    faces = detections([[100, 80, 220, 240]])
    landmarks = faces.landmarks.copy()
    landmarks[0, 2] = np.nan
    known = FaceLabels(faces.boxes, landmarks, np.isfinite(landmarks[..., 0]), np.zeros(1, np.bool_))
    drawn = draw_faces(plain(0), known)
    x, y = faces.landmarks[0, 2].astype(int).tolist()
    assert not drawn[y - 8 : y + 8, x - 8 : x + 8].any()
    assert draw_faces(plain(0), faces)[y - 8 : y + 8, x - 8 : x + 8].any()


@pytest.mark.parametrize("value", [0, 255, 128])
def test_lines_stand_out_from_dark_bright_and_grey_ground(value: int) -> None:
    drawn = draw_faces(plain(value), detections([[100, 80, 220, 240]])).astype(int)
    across = drawn[160, 90:110]  # over the left side of the box
    brightness = across @ np.array([0.299, 0.587, 0.114])
    assert brightness.max() - brightness.min() > 70


def test_labels_and_predictions_of_the_same_box_both_show() -> None:
    box = [[100.0, 80, 220, 240]]
    drawn = draw_faces(draw_faces(plain(0), labels(box), style=OUTER_LABEL_STYLE), detections(box))
    assert np.flatnonzero(has_color(drawn, BLUE)[160]).tolist() == [98, 221]
    assert np.flatnonzero(has_color(drawn, ORANGE)[160]).tolist() == [100, 219]


def test_ignored_faces_are_dashed() -> None:
    box = [[100.0, 80, 220, 240]]
    whole = has_color(draw_faces(plain(0), labels(box)), BLUE)
    dashed = has_color(draw_faces(plain(0), labels(box, ignore=True)), BLUE)
    assert 0.4 * whole.sum() < dashed.sum() < 0.7 * whole.sum()
    assert np.count_nonzero(np.diff(dashed[:, 100].astype(int)) == 1) >= 8  # dashes down the left side


def test_lines_grow_with_the_image_and_shrink_with_the_face() -> None:
    def line_width(side: int, face: float) -> int:
        box = [[side / 4, side / 4, side / 4 + face, side / 4 + face]]
        drawn = draw_faces(plain(0, side, side), detections(box), style=DrawStyle(ORANGE, has_landmarks=False))
        middle = round(side / 4 + face / 2)
        return int(has_color(drawn[middle : middle + 1, :middle], ORANGE).sum())

    widths = [line_width(*sizes) for sizes in ((500, 200), (2000, 800), (4000, 1000), (4000, 42), (4000, 15))]
    assert widths == [1, 4, 8, 3, 1]


def test_a_score_is_written_above_its_box_or_below_at_the_upper_border() -> None:
    above = has_color(draw_faces(plain(0), detections([[100, 80, 220, 240]])), ORANGE)
    assert above[70:78, 102:120].mean() > 0.3
    below = has_color(draw_faces(plain(0), detections([[100, 0, 220, 240]])), ORANGE)
    assert below[242:252, 102:120].mean() > 0.3
    assert not has_color(draw_faces(plain(0), detections([[100, 80, 220, 240]]), style=CLASSIC_STYLE), ORANGE).any()


def test_scores_never_cover_one_another() -> None:
    style = DrawStyle(ORANGE, has_landmarks=False)
    box = [100.0, 80.0, 220.0, 240.0]
    drawn = [draw_faces(plain(0), detections([box] * number), style=style) for number in (1, 2, 3, 4)]
    tags = [has_color(image, ORANGE) for image in drawn]
    assert tags[0][70:78, 102:120].mean() > 0.3  # the first above the box
    assert tags[0][242:252, 102:120].mean() == 0
    assert tags[1][242:252, 102:120].mean() > 0.3  # the second below it
    assert tags[1][82:90, 102:120].mean() == 0
    assert tags[2][82:90, 102:120].mean() > 0.3  # the third inside
    np.testing.assert_array_equal(tags[3], tags[2])  # no room for a fourth


def test_the_classic_style_is_a_green_box_of_two_pixels_and_five_dots() -> None:
    faces = detections([[100, 80, 220, 240]])
    drawn = draw_faces(plain(0), faces, style=CLASSIC_STYLE)
    assert np.flatnonzero(has_color(drawn, (0, 255, 0))[160]).tolist() == [99, 100, 219, 220]
    colors = [(255, 0, 0), (128, 255, 0), (255, 178, 102), (102, 128, 255), (0, 255, 255)]
    for (x, y), color in zip(faces.landmarks[0].tolist(), colors, strict=True):
        assert tuple(drawn[round(y), round(x)].tolist()) == color


def test_the_image_itself_is_not_changed() -> None:
    image = plain(90)
    image.flags.writeable = False
    assert draw_faces(image, detections([[10, 10, 50, 50]])).max() == 255
    assert (image == 90).all()


def test_without_faces_the_image_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for faces in (FaceDetections.empty(), FaceLabels.empty()):
        np.testing.assert_array_equal(draw_faces(image, faces), image)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (100, 100)])
def test_odd_images_and_wild_boxes_do_no_harm(size: tuple[int, int]) -> None:
    boxes = [[-5.0, -5, 5, 5], [-1e9, -1e9, 1e9, 1e9], [2.0, 2, 2, 2], [90.0, 90, 300, 300], [np.nan, 0, 1, 1]]
    drawn = draw_faces(plain(7, *size), detections(boxes))
    assert drawn.shape == (*size, 3)


def test_a_view_of_a_larger_array_can_be_drawn_on() -> None:
    image = plain(50)[:, ::-1, ::-1]
    drawn = draw_faces(image, detections([[100, 80, 220, 240]]))
    assert has_color(drawn, ORANGE).any()
