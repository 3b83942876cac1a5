from __future__ import annotations

import pytest
import torch
import torchvision

from retinaface_cli.geometry.boxes import encode_boxes, encode_landmarks
from retinaface_cli.model import postprocess as postprocessing
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.model.postprocess import postprocess, suppress, vote_boxes
from retinaface_cli.settings.detection import DetectionSettings

ANCHORS = torch.tensor([[20.0, 20, 16, 16], [24.0, 20, 16, 16], [60.0, 60, 32, 32], [100.0, 100, 64, 64]])
BOXES = torch.tensor([[10.0, 10, 30, 30], [11.0, 10, 31, 30], [50.0, 50, 70, 70], [80.0, 80, 120, 120]])
SCORES = torch.tensor([0.9, 0.8, 0.3, 0.7])


def make_outputs(scores: torch.Tensor = SCORES, *, num_images: int = 1) -> HeadOutputs:
    """Outputs that decode to BOXES with the given scores and five points in each box's middle."""
    logits = torch.stack([torch.zeros_like(scores), torch.logit(scores)], dim=-1)
    points = ((BOXES[:, :2] + BOXES[:, 2:]) / 2)[:, None].expand(-1, 5, -1)
    deltas = (logits, encode_boxes(BOXES, ANCHORS), encode_landmarks(points, ANCHORS))
    return HeadOutputs(*(value.expand(num_images, *value.shape) for value in deltas))


def test_faces_come_best_first_without_duplicates() -> None:
    (faces,) = postprocess(make_outputs(), ANCHORS, DetectionSettings(score_threshold=0.5, box_voting=False))
    torch.testing.assert_close(torch.from_numpy(faces.scores.copy()), torch.tensor([0.9, 0.7]))
    torch.testing.assert_close(torch.from_numpy(faces.boxes.copy()), BOXES[[0, 3]], atol=1e-3, rtol=1e-5)
    assert faces.landmarks[1, 4].tolist() == pytest.approx([100, 100], abs=1e-3)


def test_the_score_threshold_is_strict_and_may_leave_nothing() -> None:
    logits_at_half = make_outputs(torch.full((4,), 0.5))
    (faces,) = postprocess(logits_at_half, ANCHORS, DetectionSettings(score_threshold=0.5, box_voting=False))
    assert len(faces) == 0
    assert faces.landmarks.shape == (0, 5, 2)


def test_images_of_a_batch_are_kept_apart() -> None:
    outputs = make_outputs(num_images=2)
    logits = outputs.class_logits.clone()
    logits[1, :, 1] = -20
    first, second = postprocess(outputs._replace(class_logits=logits), ANCHORS, DetectionSettings(box_voting=False))
    assert (len(first), len(second)) == (1, 0)


def test_top_k_cuts_before_and_after_the_suppression() -> None:
    options = DetectionSettings(score_threshold=0.1, pre_nms_top_k=2, box_voting=False)
    (faces,) = postprocess(make_outputs(), ANCHORS, options)
    assert faces.scores.tolist() == pytest.approx([0.9])  # the second best is its duplicate
    options = DetectionSettings(score_threshold=0.1, keep_top_k=2, box_voting=False)
    (faces,) = postprocess(make_outputs(), ANCHORS, options)
    assert faces.scores.tolist() == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("max_kept", [1, 20, 60, 1000])
def test_what_is_kept_of_a_crowd_is_what_comparing_all_of_it_keeps(max_kept: int) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(500, 2, generator=generator) * 80
    boxes = torch.cat([corners, corners + 5 + torch.rand(500, 2, generator=generator) * 10], dim=1)
    scores = torch.randint(1, 100, (500,), generator=generator) / 100  # with ties
    whole = torchvision.ops.nms(boxes, scores, 0.3)
    assert 60 < len(whole) < 500
    kept = suppress(boxes, scores, iou_threshold=0.3, max_kept=max_kept)
    assert torch.equal(kept, whole[:max_kept])


def test_inclusive_suppression_counts_one_pixel_more() -> None:
    # 10 x 10 boxes, shifted by 4.3: IoU 57 / 143 = .3986 stays; with +1 on each side 73.7 / 168.3 = .438 goes
    boxes = torch.tensor([[10.0, 10, 20, 20], [14.3, 10, 24.3, 20]])
    anchors = torch.tensor([[15.0, 15, 10, 10], [19.3, 15, 10, 10]])
    logits = torch.tensor([[[0.0, 3.0], [0.0, 2.0]]])
    outputs = HeadOutputs(logits, encode_boxes(boxes, anchors)[None], torch.zeros(1, 2, 5, 2))
    (plain,) = postprocess(outputs, anchors, DetectionSettings(score_threshold=0.5, box_voting=False))
    settings = DetectionSettings(score_threshold=0.5, nms_inclusive=True, box_voting=False)
    (inclusive,) = postprocess(outputs, anchors, settings)
    assert (len(plain), len(inclusive)) == (2, 1)


def test_voting_gives_a_face_the_mean_of_the_boxes_that_are_dropped_for_it() -> None:
    options = DetectionSettings(score_threshold=0.1, box_voting=True)
    (faces,) = postprocess(make_outputs(), ANCHORS, options)
    assert faces.scores.tolist() == pytest.approx([0.9, 0.7, 0.3])
    shift = 0.8**3 / (0.9**3 + 0.8**3)  # the second box lies one pixel to the right of the first
    torch.testing.assert_close(torch.from_numpy(faces.boxes[0].copy()), BOXES[0] + torch.tensor([shift, 0, shift, 0]))
    torch.testing.assert_close(torch.from_numpy(faces.boxes[1:].copy()), BOXES[[3, 2]], atol=1e-3, rtol=1e-5)
    assert faces.landmarks[0, 2].tolist() == pytest.approx([20 + shift, 20], abs=1e-3)


def test_voting_on_nothing_gives_nothing() -> None:
    options = DetectionSettings(score_threshold=0.95, box_voting=True)
    (faces,) = postprocess(make_outputs(), ANCHORS, options)
    assert (faces.boxes.shape, faces.landmarks.shape) == ((0, 4), (0, 5, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decoding_is_done_in_float32_whatever_comes_in(dtype: torch.dtype) -> None:
    halves = HeadOutputs(*(value.to(dtype) for value in make_outputs()))
    rounded = HeadOutputs(*(value.float() for value in halves))
    (from_halves,) = postprocess(halves, ANCHORS, DetectionSettings(box_voting=False))
    (expected,) = postprocess(rounded, ANCHORS, DetectionSettings(box_voting=False))
    assert (from_halves.boxes == expected.boxes).all()


VOTERS = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
VOTER_SCORES = torch.tensor([0.9, 0.8, 0.5, 0.4])


def test_a_dropped_box_votes_for_the_first_kept_box_that_it_overlaps() -> None:
    # IoU of the third with the first and the second is 80 / 120 each: over .5; that of those two is 60 / 140
    means = vote_boxes(VOTERS, VOTERS, VOTER_SCORES, torch.tensor([0, 1, 3]), iou_threshold=0.5, power=3)
    shift = 2 * 0.5**3 / (0.9**3 + 0.5**3)
    expected = torch.stack([VOTERS[0] + torch.tensor([shift, 0, shift, 0]), VOTERS[1], VOTERS[3]])
    torch.testing.assert_close(means, expected)


def test_the_result_does_not_depend_on_how_many_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + torch.rand(200, 2, generator=generator) * 10], dim=1)
    scores = torch.rand(200, generator=generator).sort(descending=True).values
    kept = torch.tensor([0, 3, 50])
    whole = vote_boxes(boxes, boxes, scores, kept, iou_threshold=0.3, power=1)
    assert not torch.equal(whole, boxes[kept])
    monkeypatch.setattr(postprocessing, "_STRIP", 30)
    torch.testing.assert_close(vote_boxes(boxes, boxes, scores, kept, iou_threshold=0.3, power=1), whole)


def test_boxes_without_score_or_area_stay_where_they_are() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 10, 10]])
    means = vote_boxes(boxes, boxes, torch.tensor([0.5, 0.0]), torch.tensor([0, 1]), iou_threshold=0.4, power=1)
    assert torch.equal(means, boxes)
