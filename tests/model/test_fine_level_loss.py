from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import encode_boxes
from retinaface_cli.model.fine_level_loss import FineLevelLoss
from retinaface_cli.model.loss_parts import LossValues
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.model.targets import FaceTargets
from retinaface_cli.settings.loss import LossWeights
from tests.model.target_making import FINE, make_targets

SIZE = (32, 32)
ANCHORS = generate_anchors(SIZE, FINE.sizes[:1], FINE.strides[:1])
PLACE = 2 * (3 * 8 + 4)
"""The anchor of 8 pixels in row 3, column 4."""

FACE = [14.0, 10.0, 22.0, 18.0]
"""What that anchor covers."""

SURE = 0.9
"""The teacher's score there; it says background everywhere else."""


def outputs(score: float, box: list[float] = FACE, *, elsewhere: float = 1e-4) -> HeadOutputs:
    """For two pictures: a face of some score at PLACE of the first, whose points are all in its centre."""
    scores = torch.full((2, len(ANCHORS)), elsewhere)
    scores[0, PLACE] = score
    boxes = torch.zeros(2, len(ANCHORS), 4)
    boxes[0, PLACE] = encode_boxes(torch.tensor([box]), ANCHORS[[PLACE]])[0]
    logits = torch.stack([torch.zeros_like(scores), torch.logit(scores)], dim=2)
    return HeadOutputs(*(part.requires_grad_() for part in (logits, boxes, torch.zeros(2, len(ANCHORS), 5, 2))))


def compute(learned: HeadOutputs, targets: FaceTargets) -> LossValues:
    loss = FineLevelLoss(LossWeights(localization=3, classification=1, landmarks=0.5), FINE)
    taught = HeadOutputs(*(part.detach() for part in outputs(SURE)))
    found = loss(learned, taught, targets, image_size=SIZE)
    return LossValues(found.total, *(value.detach() for value in found[1:]))


def slope(learned: HeadOutputs, targets: FaceTargets) -> float:
    """Derivative of the loss by the learner's logit of the face at PLACE: above 0 where the score is to fall."""
    gradient: Tensor = torch.autograd.grad(compute(learned, targets).total, learned.class_logits)[0]
    return float(gradient[0, PLACE, 1])


def test_who_answers_as_the_teacher_has_nothing_to_learn() -> None:
    learned = outputs(SURE)
    values = compute(learned, make_targets([FACE]))
    assert float(values.box) == float(values.landmarks) == 0
    gradients = torch.autograd.grad(values.total, list(learned), allow_unused=True)
    for gradient in gradients:
        assert gradient is not None
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


def test_boxes_and_points_are_learned_from_the_teacher_where_it_sees_a_face() -> None:
    learned = outputs(SURE)
    shifted = learned._replace(box_deltas=learned.box_deltas + 0.1, landmark_deltas=learned.landmark_deltas - 0.2)
    values = compute(shifted, make_targets([FACE]))
    assert float(values.box) == pytest.approx(4 * 0.1**2 / 2 * SURE, rel=1e-4)  # a sum of scores under 1 counts as 1
    assert float(values.landmarks) == pytest.approx(10 * 0.2**2 / 2 * SURE, rel=1e-4)
    total = 3 * values.box + values.classification + 0.5 * values.landmarks
    assert float(values.total.detach()) == pytest.approx(float(total), rel=1e-6)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_face_counts_where_the_labels_have_one_be_it_ignored_or_not(ignored: bool) -> None:
    targets = make_targets([FACE], ignore=[ignored])
    assert slope(outputs(0.5), targets) < -0.3
    assert slope(outputs(0.99), targets) > 0.05  # the teacher is less sure


@pytest.mark.parametrize(
    "targets",
    [make_targets([]), make_targets([FACE], images=[1]), make_targets([[22, 18, 30, 26]])],
    ids=["no face", "in the other picture", "beside it"],
)
def test_what_the_teacher_takes_for_a_face_without_a_label_is_background(targets: FaceTargets) -> None:
    assert slope(outputs(0.5), targets) == pytest.approx(0.5, abs=1e-4)


def test_the_score_to_learn_depends_on_how_well_the_own_box_fits() -> None:
    targets = make_targets([FACE])
    loose, off = [14.0, 10.0, 22.0, 14.0], [18.0, 14.0, 26.0, 22.0]  # IoU .5 and 1/7 with the face
    assert slope(outputs(0.5, loose), targets) == pytest.approx(0.5 - SURE, abs=0.01)
    assert slope(outputs(0.5, [14, 10, 22, 12.8]), targets) == pytest.approx(0.5 - SURE * 0.5, abs=0.01)  # IoU .35
    assert slope(outputs(0.5, off), targets) == pytest.approx(0.5, abs=0.01)


def test_half_precision_outputs_are_taken() -> None:
    learned = HeadOutputs(*(part.to(torch.bfloat16) for part in outputs(0.5)))
    assert compute(learned, make_targets([FACE])).total.dtype == torch.float32
