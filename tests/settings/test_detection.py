"""Settings of `infer` that follow from one another."""

from __future__ import annotations

import pytest

from retinaface_cli.settings.detection import InferSettings


@pytest.mark.parametrize(
    ("box_voting", "nms_inclusive", "votes"),
    [(None, False, True), (None, True, False), (False, False, False), (True, True, True)],
)
def test_boxes_are_voted_on_but_not_in_the_old_evaluation(
    box_voting: bool | None, nms_inclusive: bool, votes: bool
) -> None:
    assert InferSettings(box_voting=box_voting, nms_inclusive=nms_inclusive).votes is votes
