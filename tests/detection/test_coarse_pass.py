"""The coarse pass for large faces: which pass counts for which face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.detection.coarse_pass import enlarge, is_hinted, merge_passes, shrink, shrink_factor
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.faces import FaceDetections
from retinaface_cli.model.networks.outputs import HeadOutputs
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples" / "images"

Found = tuple[float, tuple[float, float, float, float]]

HUGE: Found = (0.9, (0, 0, 600, 800))
"""Score and box of a face that is far larger than the anchors."""


def faces(*found: Found) -> FaceDetections:
    boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    scores = np.array([score for score, _ in found], np.float32)
    return FaceDetections(boxes, np.zeros((len(found), 5, 2), np.float32), scores)


def merged(first: FaceDetections, second: FaceDetections) -> list[Found]:
    result = merge_passes(first, second, nms_iou_threshold=0.4)
    return [
        (round(float(score), 3), tuple(box.tolist())) for score, box in zip(result.scores, result.boxes, strict=True)
    ]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [HUGE], [HUGE]),
        ([(0.95, (200, 200, 300, 300))], [HUGE], [HUGE]),  # an eye in the large face
        ([(0.95, (30, 20, 580, 790))], [HUGE], [HUGE]),  # the large face itself, less exact
        ([(0.95, (0, 0, 392, 420))], [(0.8, (8, 16, 400, 452))], [(0.8, (4, 8, 396, 436))]),  # half way to 512 pixels
        ([(0.95, (0, 0, 300, 350))], [(0.8, (8, 16, 300, 376))], [(0.8, (0, 0, 300, 350))]),  # 360 pixels: as before
        ([(0.8, (700, 0, 760, 70))], [HUGE], [HUGE, (0.8, (700, 0, 760, 70))]),  # beside it
        ([(0.8, (560, 0, 660, 100))], [HUGE], [HUGE, (0.8, (560, 0, 660, 100))]),  # only a corner in it
        ([(0.8, (0, 0, 400, 400))], [], []),  # large, and nothing to be seen from afar
        ([(0.8, (0, 0, 400, 400))], [(0.7, (10, 10, 350, 350))], [(0.8, (0, 0, 400, 400))]),  # seen, just not as large
        (
            [(0.8, (0, 0, 40, 40))],
            [(0.7, (100, 100, 140, 140))],
            [(0.8, (0, 0, 40, 40))],
        ),  # small ones: first look only
        ([(0.3, (0, 0, 90, 90))], [(0.4, (0, 0, 600, 800))], [(0.3, (0, 0, 90, 90))]),  # uncertain large faces give way
        ([], [(0.4, (0, 0, 600, 800))], [(0.4, (0, 0, 600, 800))]),
        ([], [], []),
    ],
)
def test_large_faces_come_from_the_coarse_pass_and_the_others_from_the_first(
    first: list[Found], second: list[Found], expected: list[Found]
) -> None:
    assert merged(faces(*first), faces(*second)) == expected


@pytest.mark.parametrize(
    ("fine", "coarse", "expected"),
    [
        ([(0.9, (0, 0, 90, 90))], [(0.95, (200, 0, 290, 90))], [(0.9, (0, 0, 90, 90))]),  # small: fine pass only
        ([(0.9, (0, 0, 200, 90))], [(0.6, (0, 0, 100, 200))], [(0.6, (0, 0, 100, 200))]),  # large: coarse pass only
        ([(0.6, (0, 0, 150, 150))], [(0.9, (4, 0, 154, 150))], [(0.9, (4, 0, 154, 150))]),  # shared: the better one
        ([(0.9, (0, 0, 150, 150))], [(0.6, (4, 0, 154, 150))], [(0.9, (0, 0, 150, 150))]),
        ([(0.9, (0, 0, 150, 150))], [], [(0.9, (0, 0, 150, 150))]),
        ([], [(0.3, (0, 0, 150, 150))], [(0.3, (0, 0, 150, 150))]),
        ([(0.95, (50, 50, 100, 90))], [HUGE], [HUGE]),  # a piece of a face that is certain and large
        ([(0.95, (50, 50, 100, 90))], [(0.9, (0, 0, 200, 200))], [(0.95, (50, 50, 100, 90)), (0.9, (0, 0, 200, 200))]),
    ],
)
def test_faces_of_sizes_that_both_passes_see_come_from_the_surer_one(
    fine: list[Found], coarse: list[Found], expected: list[Found]
) -> None:
    joined = merge_passes(faces(*fine), faces(*coarse), nms_iou_threshold=0.4, shared_sides=(96, 192))
    found = [(round(float(s), 3), tuple(box.tolist())) for s, box in zip(joined.scores, joined.boxes, strict=True)]
    assert found == expected


def test_a_shrunk_images_faces_come_back_in_its_own_pixels() -> None:
    image = np.zeros((1000, 701, 3), np.uint8)
    image[400:600, 300:500] = 255
    seen = shrink(image)
    assert seen.shape == (250, 175, 3)
    ys, xs = np.nonzero(seen[:, :, 0] == 255)
    found = faces((0.9, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)))
    np.testing.assert_array_equal(enlarge(found, shrink_factor(image)).boxes, [[300, 400, 500, 600]])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((641, 20), (213, 6)), ((4096, 4096), (315, 315)), ((1, 5000), (1, 312)), ((960, 3), (320, 1))],
)
def test_the_coarse_pass_is_small_whatever_the_image(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink(np.zeros((*size, 3), np.uint8)).shape[:2] == expected


def test_the_coarse_pass_is_for_large_images_whose_largest_anchors_see_a_face() -> None:
    anchors = torch.tensor([[8.0, 8, 16, 16], [16, 16, 512, 512], [48, 16, 512, 512]])
    sure, none = [-3.0, 3.0], [3.0, -3.0]
    logits = torch.tensor([[sure, none, none], [none, none, sure], [none, none, [3.0, -torch.inf]], [none, none, sure]])
    outputs = HeadOutputs(logits, torch.zeros(4, 3, 4), torch.zeros(4, 3, 5, 2))
    images = [np.zeros((*size, 3), np.uint8) for size in ((20, 641), (20, 641), (20, 641), (640, 640))]
    assert is_hinted(outputs, anchors, images) == [False, True, False, False]


@pytest.mark.parametrize("name", ["astronaut.jpg", "grace_hopper.jpg"])
@pytest.mark.parametrize("max_size", [640, 1600])
def test_a_portrait_is_one_face_with_yunet_too(name: str, max_size: int) -> None:
    original = load_rgb(EXAMPLES / name)
    factor = 4096 / max(original.shape)
    image = cv2.resize(original, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    found = FaceDetector.load("yunet", device="cpu", max_size=max_size).detect(image)
    expected = FaceDetector.load("yunet", device="cpu", max_size=960).detect(original)
    assert len(found) == len(expected) == 1
    assert found.scores[0] > 0.9
    width = expected.boxes[0, 2] - expected.boxes[0, 0]
    assert np.abs(found.boxes[0] / factor - expected.boxes[0]).max() < 0.1 * width


@pytest.mark.parametrize("name", ["astronaut.jpg", "grace_hopper.jpg"])
@pytest.mark.parametrize("max_size", [640, 1600, None])
def test_a_portrait_is_one_face_at_every_network_size(name: str, max_size: int | None) -> None:
    original = load_rgb(EXAMPLES / name)
    factor = 4096 / max(original.shape)
    image = cv2.resize(original, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    faces = FaceDetector.load("mobilenet0.25", device="cpu", max_size=max_size).detect(image)
    expected = FaceDetector.load("mobilenet0.25", device="cpu", max_size=960).detect(original)
    assert len(faces) == 1
    assert faces.scores[0] > 0.9
    width = expected.boxes[0, 2] - expected.boxes[0, 0]
    assert np.abs(faces.boxes[0] / factor - expected.boxes[0]).max() < 0.1 * width


@pytest.mark.parametrize("name", ["astronaut.jpg", "grace_hopper.jpg"])
@pytest.mark.parametrize("long_side", [512, 1024, 2048, 4096])
def test_a_portrait_of_any_size_is_one_face_in_one_place(name: str, long_side: int) -> None:
    original = load_rgb(EXAMPLES / name)
    factor = long_side / max(original.shape)
    image = cv2.resize(original, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    faces = FaceDetector.load("mobilenet0.25", device="cpu", max_size=960).detect(image)
    expected = FaceDetector.load("mobilenet0.25", device="cpu", max_size=960).detect(original)
    assert len(faces) == len(expected) == 1
    assert faces.scores[0] > 0.9
    eyes = expected.landmarks[0, 1] - expected.landmarks[0, 0]
    errors = np.linalg.norm(faces.landmarks[0] / factor - expected.landmarks[0], axis=1) / np.linalg.norm(eyes)
    assert errors.max() < 0.05


def test_no_face_is_lost_by_the_coarse_pass() -> None:
    for name in ("gallery.jpg", "yearbook.jpg", "table.jpg"):
        once, twice = (
            FaceDetector.load("mobilenet0.25", device="cpu", max_size=960, coarse_pass=coarse_pass).detect(
                EXAMPLES / name
            )
            for coarse_pass in (False, True)
        )
        np.testing.assert_allclose(twice.boxes, once.boxes)
