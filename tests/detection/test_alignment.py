from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from retinaface_cli.detection.alignment import ARCFACE_TEMPLATE, align_faces, crop_faces, estimate_alignment
from retinaface_cli.faces import FaceDetections, FaceLabels, FloatArray


def random_faces(count: int) -> FloatArray:
    """(N, 5, 2) templates turned, scaled, shifted and disturbed."""
    generator = np.random.default_rng(5)
    angles, scales = generator.uniform(-np.pi, np.pi, count), generator.uniform(0.2, 6, count)
    turns = scales[:, None, None] * np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).T
    points = ARCFACE_TEMPLATE @ turns + generator.uniform(-200, 900, (count, 1, 2))
    disturbed: FloatArray = (points + generator.normal(0, 2, points.shape)).astype(np.float32)
    return disturbed


def detections(landmarks: npt.ArrayLike, boxes: npt.ArrayLike | None = None) -> FaceDetections:
    points = np.asarray(landmarks, np.float32).reshape(-1, 5, 2)
    corners = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1) if boxes is None else np.asarray(boxes)
    return FaceDetections(corners.astype(np.float32), points, np.ones(len(points), np.float32))


def solve_by_least_squares(source: FloatArray, target: FloatArray) -> npt.NDArray[np.float64]:
    """The similarity from the normal equations of x' = a x - b y + tx, y' = b x + a y + ty."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source.tolist(), target.tolist(), strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


@pytest.mark.parametrize("size", [112, 224, 100])
def test_transforms_are_the_least_squares_similarities(size: int) -> None:
    landmarks = random_faces(20)
    transforms = estimate_alignment(np.zeros((20, 4), np.float32), landmarks, size=size)
    for points, transform in zip(landmarks, transforms, strict=True):
        expected = solve_by_least_squares(points, ARCFACE_TEMPLATE * (size / 112))
        np.testing.assert_allclose(transform, expected, rtol=1e-6, atol=1e-4)


def test_missing_points_are_left_out_of_the_fit() -> None:
    landmarks = random_faces(3)
    landmarks[1, 3:] = np.nan
    transforms = estimate_alignment(np.zeros((3, 4), np.float32), landmarks)
    expected = solve_by_least_squares(landmarks[1, :3], ARCFACE_TEMPLATE[:3])
    np.testing.assert_allclose(transforms[1], expected, rtol=1e-6, atol=1e-4)


def test_a_face_on_the_template_is_cut_out_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    aligned = align_faces(image, detections(ARCFACE_TEMPLATE + np.array([40, 30], np.float32)))
    assert aligned.shape == (1, 112, 112, 3)
    np.testing.assert_array_equal(aligned[0], image[30:142, 40:152])


def test_a_face_on_its_head_comes_out_upright() -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    upside_down = np.ascontiguousarray(image[::-1, ::-1])
    aligned = align_faces(upside_down, detections(111 - ARCFACE_TEMPLATE))[0]
    np.testing.assert_array_equal(aligned, image)


def test_the_five_points_come_to_lie_on_the_template() -> None:
    image = np.zeros((600, 800, 3), np.uint8)
    source = ARCFACE_TEMPLATE * 2.5 + np.array([200, 100], np.float32)
    for x, y in source.tolist():
        cv2.circle(image, (round(x * 16), round(y * 16)), 12 * 16, (255, 255, 255), cv2.FILLED, cv2.LINE_AA, 4)
    aligned = align_faces(image, detections(source), size=224)[0, :, :, 0]
    _, _, _, centers = cv2.connectedComponentsWithStats((aligned > 127).astype(np.uint8))
    found = centers[1:][np.argsort(centers[1:, 0])]
    wanted = ARCFACE_TEMPLATE[np.argsort(ARCFACE_TEMPLATE[:, 0])] * 2
    np.testing.assert_allclose(found, wanted, atol=0.15)


def test_a_face_without_points_is_cut_out_around_its_box() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[100:200, 150:210] = 255
    labels = FaceLabels.from_boxes([[150, 100, 210, 200]])
    aligned = align_faces(image, labels, size=100)[0, :, :, 0]
    rows, columns = np.flatnonzero(aligned[:, 50]), np.flatnonzero(aligned[50])
    assert (rows[0], rows[-1]) == pytest.approx((10, 89), abs=1)  # 100 pixels fill 80 of 100
    assert (columns[0], columns[-1]) == pytest.approx((26, 73), abs=1)  # 60 pixels fill 48


def test_five_points_in_one_place_count_as_none() -> None:
    image = np.full((50, 50, 3), 7, np.uint8)
    faces = detections(np.full((1, 5, 2), 20), boxes=[[10, 10, 30, 30]])
    np.testing.assert_array_equal(align_faces(image, faces), np.full((1, 112, 112, 3), 7))


def test_what_lies_beyond_the_image_is_black() -> None:
    image = np.full((112, 112, 3), 200, np.uint8)
    aligned = align_faces(image, detections(ARCFACE_TEMPLATE - np.array([56, 0], np.float32)))[0]
    assert aligned[:, 57:].max() == 200
    assert aligned[:, :55].max() == 0


def test_no_faces_give_an_empty_array() -> None:
    assert align_faces(np.zeros((9, 9, 3), np.uint8), FaceDetections.empty(), size=64).shape == (0, 64, 64, 3)


def test_crops_are_the_boxes_rounded_outwards_with_their_margin() -> None:
    image = np.arange(100 * 80 * 3, dtype=np.uint32).reshape(100, 80, 3).astype(np.uint8)
    boxes = np.array([[10.2, 20.9, 30.1, 60.0]], np.float32)
    np.testing.assert_array_equal(crop_faces(image, boxes)[0], image[20:60, 10:31])
    np.testing.assert_array_equal(crop_faces(image, boxes, margin=0.5)[0], image[1:80, 0:41])


def test_crops_are_cut_off_at_the_border_and_never_empty() -> None:
    image = np.zeros((100, 80, 3), np.uint8)
    boxes = np.array([[-20, -10, 5, 6], [70, 90, 500, 500], [300, 300, 310, 310], [5, 5, 5, 5]], np.float32)
    assert [crop.shape for crop in crop_faces(image, boxes)] == [(6, 5, 3), (10, 10, 3), (1, 1, 3), (1, 1, 3)]
    assert crop_faces(image, np.zeros((0, 4), np.float32)) == []
