"""Rescoring: what goes through the network again, and what becomes of the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.rescoring import MAX_FACES, Rescorer, choose_faces, combine_scores, cut_out, read_logits
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import FaceDetections, FloatArray, RgbImage
from retinaface_cli.geometry.boxes import encode_boxes
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.network import PreprocessingSettings
from tests.conftest import REPOSITORY

GREY = (1, 2, 3)

SMALL, LARGE = (0, 0, 16, 16), (100, 100, 150, 150)
"""Boxes of faces that are shown enlarged to 56 pixels, and to 112."""


def faces(*found: tuple[float, tuple[float, float, float, float]]) -> FaceDetections:
    boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    scores = np.array([score for score, _ in found], np.float32)
    return FaceDetections(boxes, np.zeros((len(found), 5, 2), np.float32), scores)


def box_of(*corners: float) -> FloatArray:
    return np.array(corners, np.float32)


@pytest.mark.parametrize(
    ("box", "crop_side", "face_side"),
    [
        ((100, 60, 116, 76), 128, 56),  # small
        ((100, 60, 160, 140), 192, 112),
        ((0, 0, 20, 20), 128, 56),  # at the edge
        ((20, 10, 300, 190), 192, 112),  # with margins beyond the image
    ],
)
def test_a_face_is_shown_at_its_size_with_its_surroundings(
    box: tuple[int, int, int, int], crop_side: int, face_side: int
) -> None:
    image = np.full((200, 320, 3), 50, np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    shown = cut_out(image, box_of(*box), GREY)
    assert shown.image.shape == (crop_side, crop_side, 3)
    assert np.sqrt(np.prod(shown.box[2:] - shown.box[:2])) == pytest.approx(face_side, rel=0.03)
    ys, xs = np.nonzero(shown.image[:, :, 0] > 150)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(seen, shown.box, atol=2)


def test_what_lies_beyond_the_image_is_filled() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    shown = cut_out(image, box_of(0, 10, 20, 30), GREY).image
    assert (shown[60, 2] == GREY).all()
    assert (shown[60, 64] == 200).all()
    for outside in ((-90, 5, -60, 35), (60, 5, 90, 35), (5, -90, 35, -60), (5, 60, 35, 90)):
        assert (cut_out(image, box_of(*outside), GREY).image == GREY).all()
    assert cut_out(image, box_of(10, 10, 10, 10), GREY).image.shape == (128, 128, 3)  # an empty box


def test_faces_are_doubtful_where_a_second_look_can_lift_them_over_the_threshold() -> None:
    # With the best answer, a logit of 4, a small face of logit l gets (l + 4) / 2 - 1, a large one .4 less.
    # For a score of .7, a logit of .847, they need -.305 and .495 to begin with: scores of .424 and .621.
    found = faces(
        (0.99, SMALL), (0.97, LARGE), (0.63, LARGE), (0.61, LARGE), (0.43, SMALL), (0.42, SMALL), (0.1, SMALL)
    )
    assert choose_faces(found, 0.7).tolist() == [1, 2, 4]
    assert choose_faces(found, 0.02).tolist() == [1, 2, 3, 4, 5]
    assert choose_faces(found, 1.0).tolist() == []
    assert choose_faces(faces(), 0.7).tolist() == []


def test_the_best_hundred_are_looked_at_again() -> None:
    many = faces(*((0.9 - 0.001 * i, SMALL) for i in range(MAX_FACES + 20)))
    assert choose_faces(many, 0.02).tolist() == list(range(MAX_FACES))


def test_an_answer_is_the_best_logit_of_the_boxes_in_the_same_place() -> None:
    anchors = torch.tensor([[32.0, 32, 32, 32], [34, 34, 32, 32], [90, 90, 32, 32]])
    deltas = torch.zeros(3, 3, 4)
    deltas[2] = encode_boxes(torch.tensor([[80.0, 80, 100, 100]]).expand(3, 4), anchors)  # all somewhere else
    margins = torch.tensor([[1.5, 3.0, 9.0], [5.0, -1.0, 9.0], [2.0, 2.0, 2.0]])
    logits = torch.stack([torch.zeros(3, 3), margins], dim=-1)
    boxes = torch.tensor([[16.0, 16, 48, 48]]).expand(3, 4)
    answers = read_logits(HeadOutputs(logits, deltas, torch.zeros(3, 3, 5, 2)), anchors, boxes)
    np.testing.assert_allclose(answers, [3.0, 4.0, -6.0])  # best; no more than 4; none in its place


def test_scores_are_those_of_both_looks_together() -> None:
    found = faces((0.99, SMALL), (0.9, SMALL), (0.8, LARGE), (0.1, SMALL))
    weighed = combine_scores(found, np.array([1, 2]), np.array([-1.0, 4.0], np.float32))
    # logits 2.197, 1.386, -2.197: (2.197 - 1) / 2 - 1 = -.401, (1.386 + 4) / 2 - 1.4 = 1.293, -2.197 - 1 = -3.197
    np.testing.assert_allclose(weighed.scores, [0.99, 0.7847, 0.4010, 0.0393], atol=1e-4)
    np.testing.assert_array_equal(weighed.boxes, np.array([SMALL, LARGE, SMALL, SMALL], np.float32))


class _Sure:
    """A network that finds whatever it is shown to be a face, in the middle of the image, and counts."""

    description, num_parallel = "sure", 1

    def __init__(self, *, prefers_few_shapes: bool) -> None:
        self.prefers_few_shapes = prefers_few_shapes
        self.shapes: list[tuple[int, int]] = []

    def __call__(self, images: Sequence[RgbImage]) -> Iterator[tuple[HeadOutputs, Tensor]]:
        side = images[0].shape[0]
        self.shapes.append((len(images), side))
        face = 56 if side == 128 else 112
        anchors = torch.tensor([[side / 2, side / 2, face, face]])
        for start in range(0, len(images), 3):
            count = len(images[start : start + 3])
            logits = torch.tensor([[[0.0, 3.0]]]).expand(count, 1, 2)
            yield HeadOutputs(logits, torch.zeros(count, 1, 4), torch.zeros(count, 1, 5, 2)), anchors


@pytest.mark.parametrize("prefers_few_shapes", [False, True])
def test_the_faces_of_all_images_are_looked_at_together_by_size(prefers_few_shapes: bool) -> None:
    network = _Sure(prefers_few_shapes=prefers_few_shapes)
    check = Rescorer(network, PreprocessingSettings(), torch.device("cpu"))
    images = [np.zeros((300, 300, 3), np.uint8)] * 3
    found = [
        faces(*[(0.9, SMALL)] * 3, (0.8, LARGE)),
        faces(),
        faces((0.99, SMALL), *[(0.9, SMALL)] * 18, (0.5, LARGE), (0.3, SMALL)),
    ]
    first, second, third = check(images, found, score_threshold=0.7)
    assert network.shapes == (
        [(16, 128), (8, 128), (1, 192)] if prefers_few_shapes else [(16, 128), (5, 128), (1, 192)]
    )
    # (2.197 + 3) / 2 - 1 = 1.599, (1.386 + 3) / 2 - 1.4 = .793 < .847
    np.testing.assert_allclose(first.scores, [0.8318] * 3, atol=1e-4)
    assert len(second) == 0
    np.testing.assert_allclose(third.scores, [0.99, *[0.8318] * 18], atol=1e-4)
    assert check([], [], score_threshold=0.7) == []


def test_networks_for_other_sizes_are_refused() -> None:
    with pytest.raises(SettingsError, match="--rescore: not for yunet, whose anchors do not reach from 56 to 112"):
        FaceDetector.load("yunet", device="cpu", rescore=True)
    with pytest.raises(SettingsError, match="--rescore"):
        FaceDetector.load("yunet", device="cpu").with_settings(rescore=True)


def test_a_image_gets_the_same_faces_in_company() -> None:
    detector = FaceDetector.load(
        "mobilenet0.25", device="cpu", max_size=640, backend="torch", score_threshold=0.1, rescore=True
    )
    images = [load_rgb(REPOSITORY / "examples" / "images" / f"{name}.jpg") for name in ("table", "yearbook")]
    for alone, together in zip(map(detector.detect, images), detector.detect_batch(images), strict=True):
        assert len(alone) == len(together) > 0
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-3)


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_every_backend_confirms_the_weak_face_and_nothing_else(backend: str) -> None:
    image = load_rgb(REPOSITORY / "examples" / "images" / "table.jpg")
    by_check = {
        rescore: FaceDetector.load(
            "mobilenet0.25",
            device="cpu",
            max_size=960,
            backend=backend,
            score_threshold=0.05,
            rescore=rescore,
        ).detect(image)
        for rescore in (False, True)
    }
    faces_found = {check: int((found.scores > 0.72).sum()) for check, found in by_check.items()}
    others = {check: found.scores[faces_found[check] :].sum() for check, found in by_check.items()}
    assert faces_found == {False: 7, True: 8}
    assert others[True] < 0.7 * others[False]
