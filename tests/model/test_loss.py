from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss, sigmoid_focal_loss

from retinaface_cli.geometry.boxes import cxcywh_to_xyxy, encode_boxes
from retinaface_cli.model.loss import FaceLoss, LossValues, box_loss, classification_loss, landmark_loss
from retinaface_cli.model.matching import targets as matching_targets
from retinaface_cli.model.matching.anchor_grid import anchor_grid
from retinaface_cli.model.matching.matchers import match_anchors
from retinaface_cli.model.matching.targets import FaceTargets, Matches, Positives, collect_positives
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.loss import (
    CrossEntropySettings,
    FocalSettings,
    IouLossSettings,
    LossSettings,
    QualityFocalSettings,
    SmoothL1Settings,
    WingSettings,
)
from retinaface_cli.settings.network import AnchorSettings, NetworkSettings
from tests.model.target_making import make_targets, random_outputs, random_targets

IMAGE_SIZE = (160, 160)
GRID = anchor_grid(IMAGE_SIZE, AnchorSettings(), torch.device("cpu"))
BOX_KINDS = ("smooth_l1", "giou", "diou", "ciou")
CLASSIFICATION_KINDS = ("cross_entropy", "focal", "quality_focal")


def make_loss(**values: Any) -> FaceLoss:
    return FaceLoss(validate_settings(LossSettings, values, source="test"), NetworkSettings())


def compute(outputs: HeadOutputs, targets: FaceTargets, **values: Any) -> LossValues:
    """The loss; only the total keeps its gradient."""
    found = make_loss(**values)(outputs, targets, image_size=IMAGE_SIZE)
    return LossValues(found.total, *(value.detach() for value in found[1:]))


@pytest.mark.shared
def test_the_loss_of_the_old_code_is_reproduced(shared: Path) -> None:
    recorded = np.load(shared / "reference" / "loss.npz")
    faces = [torch.from_numpy(recorded[f"targets_{i}"]) for i in range(2)]
    rows = torch.cat(faces)  # boxes, points and label, as parts of an image of 160 pixels
    targets = make_targets(
        rows[:, :4] * 160,
        images=[i for i, face in enumerate(faces) for _ in face],
        landmarks=rows[:, 4:14].reshape(-1, 5, 2) * 160,
        has_landmarks=(rows[:, 14:] > 0).expand(-1, 5),
    )
    outputs = HeadOutputs(
        class_logits=torch.from_numpy(recorded["class_logits"]),
        box_deltas=torch.from_numpy(recorded["box_deltas"]),
        landmark_deltas=torch.from_numpy(recorded["landmark_deltas"]).reshape(2, -1, 5, 2),
    )
    values = compute(outputs, targets)
    assert float(values.box) == pytest.approx(float(recorded["loss_box"]), abs=1e-5)
    assert float(values.classification) == pytest.approx(float(recorded["loss_class"]), abs=1e-5)
    assert float(values.landmarks) == pytest.approx(float(recorded["loss_landmark"]), abs=1e-5)
    weighted = 2 * recorded["loss_box"] + recorded["loss_class"] + recorded["loss_landmark"]
    assert float(values.total.detach()) == pytest.approx(float(weighted), abs=1e-4)


def one_positive(**fields: Tensor) -> tuple[Matches, Positives]:
    """Anchor 1 of three is positive, anchor 0 is background, anchor 2 is left out."""
    matches = Matches(torch.tensor([[-1, 0, -1]]), torch.tensor([[True, False, False]]), max_positives=1)
    positives = collect_positives(matches, make_targets([[0, 0, 16, 16]]), torch.full((3, 4), 16.0))
    return matches, positives._replace(**fields)


def log_loss(probability: float) -> float:
    return -math.log(probability)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_cross_entropy_takes_the_hardest_negatives_and_leaves_out_what_is_ignored() -> None:
    margins = torch.tensor([[2.0, -1.0, 0.5, 9.0, 1.0, -3.0]])
    matches = Matches(
        torch.tensor([[-1, 0, -1, -1, -1, -1]]), torch.tensor([[True, False, True, False, True, True]]), 1
    )
    positives = collect_positives(matches, make_targets([[0, 0, 16, 16]]), torch.full((6, 4), 16.0))
    settings = CrossEntropySettings(negatives_per_positive=2, min_negatives=1)
    result = classification_loss(settings, margins, matches, positives)
    expected = log_loss(sigmoid(-1)) + log_loss(1 - sigmoid(2)) + log_loss(1 - sigmoid(1))
    assert float(result.total) == pytest.approx(expected, rel=1e-6)
    assert float(result.divisor) == 1


def test_images_without_faces_are_negatives() -> None:
    margins = torch.tensor([[2.0, 1.0, 0.0, -1.0]])
    matches = Matches(torch.full((1, 4), -1), torch.ones(1, 4, dtype=torch.bool), 0)
    positives = collect_positives(matches, make_targets([]), torch.full((4, 4), 16.0))
    settings = CrossEntropySettings(negatives_per_positive=7, min_negatives=3)
    result = classification_loss(settings, margins, matches, positives)
    assert float(result.total) == pytest.approx(sum(log_loss(1 - sigmoid(x)) for x in (2, 1, 0)), rel=1e-6)
    assert float(result.divisor) == pytest.approx(3 / 7)
    outputs = random_outputs(2, GRID.num_anchors, seed=0)
    values = compute(outputs, make_targets([]))
    torch.autograd.backward(values.total)
    assert float(values.classification) > 0
    assert float(values.box) == float(values.landmarks) == 0
    assert outputs.class_logits.grad is not None
    assert int((outputs.class_logits.grad[..., 1] > 0).sum()) == 14


def test_focal_loss_is_torchvisions() -> None:
    margins = torch.tensor([[1.5, -0.3, 4.0]])
    matches, positives = one_positive()
    result = classification_loss(FocalSettings(alpha=0.3, gamma=1.5), margins, matches, positives)
    expected = sigmoid_focal_loss(margins[0, :2], torch.tensor([0.0, 1.0]), alpha=0.3, gamma=1.5, reduction="sum")
    assert float(result.total) == pytest.approx(float(expected), rel=1e-6)
    assert float(result.divisor) == 1


def test_quality_focal_loss_wants_the_overlap_as_score() -> None:
    margins = torch.tensor([[1.5, -0.3, 4.0]])
    matches, positives = one_positive(quality=torch.tensor([0.6]))
    result = classification_loss(QualityFocalSettings(beta=2), margins, matches, positives)
    score = sigmoid(-0.3)
    cross_entropy = 0.6 * log_loss(score) + 0.4 * log_loss(1 - score)
    expected = (0.6 - score) ** 2 * cross_entropy + sigmoid(1.5) ** 2 * log_loss(1 - sigmoid(1.5))
    assert float(result.total) == pytest.approx(expected, rel=1e-6)


def test_quality_is_the_overlap_of_the_predicted_box() -> None:
    anchor = 5
    face = cxcywh_to_xyxy(GRID.anchors[anchor])[None]
    outputs = random_outputs(1, GRID.num_anchors, seed=1)
    with torch.no_grad():
        outputs.box_deltas[:] = encode_boxes(
            face.expand(GRID.num_anchors, 4), GRID.anchors
        )  # every anchor predicts the face exactly
        outputs.class_logits[..., 0], outputs.class_logits[..., 1] = 0.0, 20.0
        outputs.class_logits[~(match_one(face) >= 0)] = torch.tensor([20.0, 0.0])
    values = compute(outputs, make_targets(face), classification={"name": "quality_focal"})
    assert float(values.classification) < 1e-6


def match_one(boxes: Tensor) -> Tensor:
    return match_anchors(make_targets(boxes), GRID, LossSettings().matching, batch_size=1).face_index


def test_faces_without_landmarks_are_learned_as_faces_and_boxes() -> None:
    landmarks = torch.rand(1, 5, 2) * 100
    outputs = random_outputs(1, GRID.num_anchors, seed=2)
    with_points = make_targets([[20, 20, 60, 60]], landmarks=landmarks, has_landmarks=torch.ones(1, 5) > 0)
    known, unknown = compute(outputs, with_points), compute(outputs, make_targets([[20, 20, 60, 60]]))
    assert float(unknown.box) == float(known.box) > 0
    assert float(unknown.classification) == float(known.classification) > 0
    assert float(known.landmarks) > 0
    assert float(unknown.landmarks) == 0


def test_landmarks_are_masked_point_by_point() -> None:
    landmarks = torch.full((1, 5, 2), torch.nan)
    landmarks[0, 2], landmarks[0, 4] = torch.tensor([30.0, 40]), torch.tensor([50.0, 44])
    has_landmarks = torch.tensor([[False, False, True, False, True]])
    outputs = random_outputs(1, GRID.num_anchors, seed=3)
    targets = make_targets([[20, 20, 60, 60]], landmarks=landmarks, has_landmarks=has_landmarks)
    values = compute(outputs, targets)
    torch.autograd.backward(values.total)
    total, num_points, said = 0.0, 0, outputs.landmark_deltas.detach()
    for anchor in (match_one(targets.boxes)[0] >= 0).nonzero()[:, 0].tolist():
        x, y, side, _ = GRID.anchors[anchor].tolist()
        for point, (px, py) in ((2, (30, 40)), (4, (50, 44))):
            wanted = ((px - x) / (0.1 * side), (py - y) / (0.1 * side))
            errors = (abs(float(said[0, anchor, point, i]) - wanted[i]) for i in range(2))
            total += sum(e - 0.5 if e >= 1 else e * e / 2 for e in errors)
            num_points += 1
    assert float(values.landmarks) == pytest.approx(total / (num_points / 5), rel=1e-5)
    gradient = outputs.landmark_deltas.grad
    assert gradient is not None
    assert bool(gradient.isfinite().all())
    assert float(gradient[0, :, [0, 1, 3]].abs().sum()) == 0


def test_ignored_faces_change_nothing_but_the_negatives() -> None:
    outputs = random_outputs(1, GRID.num_anchors, seed=4)
    face, other = [20.0, 20, 60, 60], [100.0, 100, 140, 140]
    alone = compute(outputs, make_targets([face]))
    ignored = compute(outputs, make_targets([face, other], ignore=[False, True]))
    assert float(ignored.box) == float(alone.box)
    with torch.no_grad():
        inside = (match_one(torch.tensor([other]))[0] >= 0).nonzero()[:, 0]
        outputs.class_logits[0, inside] = torch.tensor([0.0, 30.0])  # sure of faces there
    assert float(compute(outputs, make_targets([face])).classification) > float(alone.classification) + 10
    kept = compute(outputs, make_targets([face, other], ignore=[False, True]))
    assert float(kept.classification) == pytest.approx(float(ignored.classification), rel=0.2)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_overlap_losses_are_torchvisions(kind: Any, reference: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    anchors = torch.rand(50, 4, generator=generator) * 50 + 10
    boxes = cxcywh_to_xyxy(anchors + torch.rand(50, 4, generator=generator) * 20)
    deltas = torch.randn(50, 4, generator=generator)
    found = box_loss(IouLossSettings(name=kind), deltas, boxes, anchors)
    size = anchors[:, 2:] * torch.exp(0.2 * deltas[:, 2:])
    center = anchors[:, :2] + 0.1 * deltas[:, :2] * anchors[:, 2:]
    expected = reference(torch.cat([center - size / 2, center + size / 2], dim=1), boxes)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_wing_loss_is_logarithmic_then_linear() -> None:
    deltas = torch.zeros(1, 5, 2)
    deltas[0, 0, 0], deltas[0, 1, 1], deltas[0, 2, 0] = 1.0, -5.0, 2.0
    found = landmark_loss(WingSettings(width=2, curvature=0.5), deltas, torch.zeros(1, 5, 2))[0].tolist()
    gap = 2 - 2 * math.log(1 + 2 / 0.5)
    assert found == pytest.approx([2 * math.log(1 + 1 / 0.5), 5 - gap, 2 - gap, 0, 0])


@pytest.mark.parametrize("kind", BOX_KINDS)
def test_the_gradient_of_box_losses_is_right(kind: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    anchors = torch.rand(6, 4, generator=generator, dtype=torch.float64) * 50 + 10
    boxes = cxcywh_to_xyxy(anchors + torch.rand(6, 4, generator=generator, dtype=torch.float64) * 8)
    deltas = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    settings = SmoothL1Settings() if kind == "smooth_l1" else IouLossSettings(name=kind)
    assert torch.autograd.gradcheck(lambda x: box_loss(settings, x, boxes, anchors), deltas)


@pytest.mark.parametrize("settings", [SmoothL1Settings(beta=0.5), WingSettings()])
def test_the_gradient_of_landmark_losses_is_right(settings: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    wanted, deltas = (torch.randn(4, 5, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: landmark_loss(settings, x, wanted), deltas.requires_grad_())


@pytest.mark.parametrize("settings", [CrossEntropySettings(), FocalSettings(), QualityFocalSettings()])
def test_the_gradient_of_classification_losses_is_right(settings: Any) -> None:
    targets = make_targets([[12, 12, 44, 44], [50, 50, 70, 90]], images=[0, 1])
    grid = anchor_grid((96, 96), AnchorSettings(), torch.device("cpu"))
    matches = match_anchors(targets, grid, LossSettings().matching, batch_size=2)
    positives = collect_positives(matches, targets, grid.anchors)
    quality = torch.linspace(0.2, 0.9, len(positives.place), dtype=torch.float64)
    positives = positives._replace(quality=quality)
    generator = torch.Generator().manual_seed(3)
    margins = torch.randn(2, grid.num_anchors, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: classification_loss(settings, x, matches, positives).total, margins)


@pytest.mark.parametrize("classification", CLASSIFICATION_KINDS)
@pytest.mark.parametrize("matching", ["iou", "atss"])
def test_the_loss_is_in_float32_also_for_half_precision_outputs(classification: str, matching: str) -> None:
    outputs = random_outputs(2, GRID.num_anchors, seed=5)
    halves = HeadOutputs(*(part.detach().bfloat16().requires_grad_() for part in outputs))
    exact = HeadOutputs(*(part.detach().float() for part in halves))
    targets = random_targets(12, batch_size=2, image_side=160, seed=6, ignored=0.2)
    kinds = {"classification": {"name": classification}, "matching": {"name": matching}, "box": {"name": "ciou"}}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compute(halves, targets, **kinds)
    torch.autograd.backward(found.total)
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(torch.stack(found), torch.stack(compute(exact, targets, **kinds)))
    assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in halves)


@pytest.mark.parametrize("classification", CLASSIFICATION_KINDS)
@pytest.mark.parametrize("box", BOX_KINDS)
def test_places_filled_for_an_accelerator_do_not_change_the_loss(
    classification: str, box: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = random_outputs(2, GRID.num_anchors, seed=8)
    targets = random_targets(9, batch_size=2, image_side=160, seed=9)
    degenerate = make_targets([[0, 0, 0, 0], [0, 0, 0, 0]], images=[0, 1])  # padding that an accelerator keeps
    padded = FaceTargets(*(torch.cat(pair) for pair in zip(degenerate, targets, strict=True)))
    kinds = {"classification": {"name": classification}, "box": {"name": box}, "landmarks": {"name": "wing"}}
    expected = compute(outputs, targets, **kinds)
    torch.autograd.backward(expected.total)
    gradients = [part.grad for part in outputs]
    filled = HeadOutputs(*(part.detach().requires_grad_() for part in outputs))

    def collect_with_filling(matches: Matches, targets: FaceTargets, anchors: Tensor) -> Positives:
        monkeypatch.setattr(matching_targets, "_num_places", lambda matches: matches.max_positives)
        return collect_positives(matches, targets, anchors)

    monkeypatch.setattr("retinaface_cli.model.loss.collect_positives", collect_with_filling)
    found = compute(filled, padded, **kinds)
    torch.autograd.backward(found.total)
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))
    for part, gradient in zip(filled, gradients, strict=True):
        torch.testing.assert_close(part.grad, gradient)


def test_a_loss_with_more_hard_negatives_than_there_are_is_finite() -> None:
    outputs = random_outputs(1, GRID.num_anchors, seed=10)
    targets = random_targets(40, batch_size=1, image_side=160, seed=10)
    values = compute(outputs, targets, classification={"negatives_per_positive": 1000})
    torch.autograd.backward(values.total)
    assert outputs.class_logits.grad is not None
    assert bool(outputs.class_logits.grad.isfinite().all())


def test_the_total_is_the_weighted_sum() -> None:
    outputs = random_outputs(1, GRID.num_anchors, seed=12)
    targets = random_targets(4, batch_size=1, image_side=160, seed=12)
    weights = {"localization": 0.5, "classification": 3, "landmarks": 0}
    values = compute(outputs, targets, weights=weights)
    assert float(values.total.detach()) == pytest.approx(
        0.5 * float(values.box) + 3 * float(values.classification), rel=1e-6
    )
