"""Box voting: who votes for whom, and with what weight."""

from __future__ import annotations

import pytest
import torch

from retinaface_cli.model import box_voting
from retinaface_cli.model.box_voting import vote_boxes

BOXES = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [2, 0, 12, 10], [50, 50, 60, 60]])
SCORES = torch.tensor([0.9, 0.8, 0.5, 0.4])


def test_a_dropped_box_votes_for_the_first_kept_box_that_it_overlaps() -> None:
    # IoU of the third with the first and the second is 80 / 120 each: over .5; that of those two is 60 / 140
    means = vote_boxes(BOXES, BOXES, SCORES, torch.tensor([0, 1, 3]), iou_threshold=0.5, power=3)
    shift = 2 * 0.5**3 / (0.9**3 + 0.5**3)
    expected = torch.stack([BOXES[0] + torch.tensor([shift, 0, shift, 0]), BOXES[1], BOXES[3]])
    torch.testing.assert_close(means, expected)


def test_the_result_does_not_depend_on_how_many_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(200, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + 5 + torch.rand(200, 2, generator=generator) * 10], dim=1)
    scores = torch.rand(200, generator=generator).sort(descending=True).values
    kept = torch.tensor([0, 3, 50])
    whole = vote_boxes(boxes, boxes, scores, kept, iou_threshold=0.3, power=1)
    assert not torch.equal(whole, boxes[kept])
    monkeypatch.setattr(box_voting, "_MAX_PAIRS", 30)
    torch.testing.assert_close(vote_boxes(boxes, boxes, scores, kept, iou_threshold=0.3, power=1), whole)


def test_boxes_without_score_or_area_stay_where_they_are() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 10, 10]])
    means = vote_boxes(boxes, boxes, torch.tensor([0.5, 0.0]), torch.tensor([0, 1]), iou_threshold=0.4, power=1)
    assert torch.equal(means, boxes)
