from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from retinaface_cli.geometry.boxes import cxcywh_to_xyxy, pairwise_iou
from retinaface_cli.model.matching import matchers as matching
from retinaface_cli.model.matching.anchor_grid import AnchorGrid, anchor_grid
from retinaface_cli.model.matching.matchers import match_anchors
from retinaface_cli.model.matching.targets import FaceTargets, Matches
from retinaface_cli.settings.loss import AtssMatchingSettings, IouMatchingSettings, MatchingSettings
from retinaface_cli.settings.network import AnchorSettings
from tests.model.target_making import make_targets, random_targets

CPU = torch.device("cpu")
GRID = anchor_grid((160, 160), AnchorSettings(), CPU)  # 20 x 20, 10 x 10 and 5 x 5 cells


def match(targets: FaceTargets, settings: MatchingSettings | None = None, *, batch_size: int = 1) -> Matches:
    return match_anchors(targets, GRID, settings or IouMatchingSettings(), batch_size=batch_size)


def anchor_number(x: float, y: float, side: float, grid: AnchorGrid = GRID) -> int:
    """The number of the anchor with this centre and side."""
    found = (grid.anchors == torch.tensor([x, y, side, side])).all(dim=1).nonzero()
    assert len(found) == 1
    return int(found)


def match_all_with_all(targets: FaceTargets, settings: IouMatchingSettings, batch_size: int) -> tuple[Tensor, Tensor]:
    """The rules written down image by image and face by face, with every anchor looked at."""
    face_index = torch.full((batch_size, GRID.num_anchors), -1)
    is_background = torch.ones(batch_size, GRID.num_anchors, dtype=torch.bool)
    for image in range(batch_size):
        faces = torch.nonzero(targets.image_index == image)[:, 0]
        if len(faces) == 0:
            continue
        iou = pairwise_iou(targets.boxes[faces], cxcywh_to_xyxy(GRID.anchors))
        best_iou, best_face = iou.max(dim=0)
        face_index[image] = torch.where(best_iou >= settings.match_iou_threshold, faces[best_face], -1)
        is_background[image] = best_iou < settings.background_iou_threshold
        forced: dict[int, float] = {}
        for face, row in zip(faces.tolist(), iou, strict=True):
            anchor = int(row.argmax())
            if row[anchor] >= settings.forced_iou_threshold and float(row[anchor]) > forced.get(anchor, 0.0):
                forced[anchor] = float(row[anchor])
                face_index[image, anchor] = face
                is_background[image, anchor] = False
    return face_index, is_background


@pytest.mark.parametrize("seed", range(4))
def test_windows_find_what_comparing_all_with_all_finds(seed: int) -> None:
    targets = random_targets(60, batch_size=3, image_side=160, seed=seed)
    for thresholds in ((0.35, 0.35, 0.2), (0.5, 0.3, 0.4), (0.6, 0.1, 0.05)):
        match_iou, background_iou, forced_iou = thresholds
        settings = IouMatchingSettings(
            match_iou_threshold=match_iou, background_iou_threshold=background_iou, forced_iou_threshold=forced_iou
        )
        matches = match(targets, settings, batch_size=3)
        face_index, is_background = match_all_with_all(targets, settings, 3)
        assert torch.equal(matches.face_index, face_index)
        assert torch.equal(matches.is_background, is_background)
        assert int((face_index >= 0).sum()) <= matches.max_positives


@pytest.mark.parametrize(
    "sizes", [((10, 20), (32, 64), (128, 256)), ((8,), (16,), (32,)), ((8, 12, 20), (40,), (90, 200))]
)
def test_other_anchors_and_uneven_image_sizes_match_too(sizes: tuple[tuple[float, ...], ...]) -> None:
    grid = anchor_grid((100, 260), AnchorSettings(sizes=sizes), CPU)
    targets = random_targets(40, batch_size=1, image_side=200, seed=7)
    matches = match_anchors(targets, grid, IouMatchingSettings(), batch_size=1)
    best = pairwise_iou(targets.boxes, cxcywh_to_xyxy(grid.anchors)).amax(dim=0)
    assert torch.equal(matches.is_background[0] | (matches.face_index[0] >= 0), torch.ones(grid.num_anchors) > 0)
    assert bool((matches.face_index[0] >= 0)[best >= 0.35].all())
    assert not bool(matches.is_background[0][best >= 0.35].any())


@pytest.mark.shared
def test_the_old_matching_is_reproduced(shared: Path) -> None:
    recorded = np.load(shared / "reference" / "loss.npz")
    targets = make_targets(torch.from_numpy(recorded["targets_0"][:, :4]) * 160)
    positive = match(targets).face_index[0] >= 0
    assert np.array_equal(positive.numpy(), recorded["matched_class_0"] != 0)


def test_a_face_that_fits_an_anchor_is_matched_with_it_and_its_neighbours() -> None:
    matches = match(make_targets([[12, 12, 44, 44]]))  # the anchor of side 32 at (28, 28)
    exact = anchor_number(28, 28, 32)
    shifted = anchor_number(36, 28, 32)  # IoU 24 * 32 / (2 * 32 * 32 - 24 * 32) = .6
    diagonal = anchor_number(36, 36, 32)  # 24 * 24 / (2 * 32 * 32 - 24 * 24) = .39
    beyond = anchor_number(44, 28, 32)  # 16 * 32 / (2 * 32 * 32 - 16 * 32) = .33
    assert matches.face_index[0, [exact, shifted, diagonal]].tolist() == [0, 0, 0]
    assert matches.face_index[0, beyond] == -1
    assert bool(matches.is_background[0, beyond])
    assert int((matches.face_index >= 0).sum()) == 9  # 3 x 3 of side 32; sides 16 and 64 reach .25


def test_a_face_between_sizes_forces_its_best_anchor_only() -> None:
    matches = match(make_targets([[20, 20, 36, 36 + 48]]))  # 16 x 64; .33 with side 32, .25 with sides 16 and 64
    positive = matches.face_index[0] >= 0
    assert int(positive.sum()) == 1
    iou = pairwise_iou(torch.tensor([[20.0, 20, 36, 84]]), cxcywh_to_xyxy(GRID.anchors))[0]
    assert 0.2 <= float(iou.max()) < 0.35
    assert int(positive.nonzero()) == int(iou.argmax())


def test_a_face_under_the_forced_threshold_forces_nothing_and_steals_nothing() -> None:
    large = [12.0, 12, 44, 44]
    tiny = [26.0, 26, 30, 30]  # 4 x 4 in the middle of the anchor of the large one: IoU 16 / 256 at best
    for boxes in ([large, tiny], [tiny, large]):
        matches = match(make_targets(boxes))
        assert matches.face_index[0, anchor_number(28, 28, 32)] == boxes.index(large)
        assert boxes.index(tiny) not in matches.face_index
    alone = match(make_targets([tiny]))
    assert not bool((alone.face_index >= 0).any())
    assert bool(alone.is_background.all())


def test_of_two_faces_that_want_one_anchor_the_closer_has_it_in_any_order() -> None:
    close, far = [12.0, 12, 44, 44], [13.0, 12, 46, 44]  # both are nearest to the anchor of side 32 at (28, 28)
    anchor = anchor_number(28, 28, 32)
    assert match(make_targets([close, far])).face_index[0, anchor] == 0
    assert match(make_targets([far, close])).face_index[0, anchor] == 1
    assert match(make_targets([close, close])).face_index[0, anchor] == 0


def test_a_forced_anchor_is_not_lost_to_a_larger_overlap_of_another_face() -> None:
    small, large = [20.0, 20, 36, 84], [12.0, 12, 44, 60]
    iou = pairwise_iou(torch.tensor([small, large]), cxcywh_to_xyxy(GRID.anchors))
    forced = int(iou[0].argmax())
    assert iou[1, forced] > iou[0, forced] >= 0.2
    assert int(iou[1].argmax()) != forced
    assert match(make_targets([small, large])).face_index[0, forced] == 0


def test_faces_of_one_image_do_not_touch_another() -> None:
    matches = match(make_targets([[12, 12, 44, 44]], images=[1]), batch_size=3)
    assert (matches.face_index >= 0).sum(dim=1).tolist() == [0, 9, 0]
    assert matches.is_background.sum(dim=1).tolist() == [1050, 1041, 1050]


def test_images_without_faces_are_all_background() -> None:
    for settings in (IouMatchingSettings(), AtssMatchingSettings()):
        matches = match(make_targets([]), settings, batch_size=2)
        assert bool(matches.is_background.all())
        assert matches.max_positives == 0


def test_boxes_without_area_are_never_matched() -> None:
    for settings in (IouMatchingSettings(), IouMatchingSettings(forced_iou_threshold=0), AtssMatchingSettings()):
        matches = match(make_targets([[0, 0, 0, 0], [20, 20, 20, 40], [50, 50, 40, 40]]), settings)
        assert not bool((matches.face_index >= 0).any())
        assert bool(matches.is_background.all())


def test_anchors_on_ignored_faces_are_neither_positive_nor_background() -> None:
    for settings in (IouMatchingSettings(), AtssMatchingSettings()):
        matches = match(make_targets([[12, 12, 44, 44]], ignore=[True]), settings)
        assert not bool((matches.face_index >= 0).any())
        left_out = ~matches.is_background[0]
        for inside in (anchor_number(28, 28, 32), anchor_number(20, 36, 16)):  # centres in the face, not larger
            assert bool(left_out[inside])
        for outside in (anchor_number(52, 28, 16), anchor_number(24, 24, 128)):
            assert not bool(left_out[outside])


def test_a_tiny_ignored_face_leaves_out_the_smallest_anchors_around_it() -> None:
    matches = match(make_targets([[31, 31, 33, 33]], ignore=[True]))  # widened to 24..40
    left_out = (~matches.is_background[0]).nonzero()[:, 0].tolist()
    assert left_out == sorted(anchor_number(x, y, 16) for x in (28, 36) for y in (28, 36))


def test_a_large_ignored_face_leaves_out_exactly_the_anchors_in_it() -> None:
    box = [0.0, 30, 130, 130]
    matches = match(make_targets([box], ignore=[True]), AtssMatchingSettings())
    x, y, side, _ = GRID.anchors.unbind(dim=1)
    is_inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3]) & (side <= 130)
    assert torch.equal(~matches.is_background[0] & is_inside, is_inside)
    assert not bool((~matches.is_background[0] & ~is_inside & (side <= 64)).any())


def test_a_labelled_face_stays_positive_beside_an_ignored_one() -> None:
    matches = match(make_targets([[12, 12, 44, 44], [30, 12, 62, 44]], ignore=[False, True]))
    assert matches.face_index[0, anchor_number(28, 28, 32)] == 0
    assert matches.face_index[0, anchor_number(36, 28, 32)] == 0
    assert not bool(matches.is_background[0, anchor_number(44, 28, 32)])
    assert 1 not in matches.face_index


def test_many_faces_are_matched_in_parts_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = random_targets(200, batch_size=2, image_side=160, seed=5, ignored=0.3)
    for settings in (IouMatchingSettings(), AtssMatchingSettings()):
        whole = match(targets, settings, batch_size=2)
        with monkeypatch.context() as patch:
            patch.setattr(matching, "MAX_PAIRS", 1000)
            parts = match(targets, settings, batch_size=2)
        assert torch.equal(whole.face_index, parts.face_index)
        assert torch.equal(whole.is_background, parts.is_background)


def adaptive_matches(targets: FaceTargets, num_nearest: int, grid: AnchorGrid = GRID) -> Tensor:
    """The rules of the ATSS paper, algorithm 1, face by face; equally near anchors in their order."""
    centers, corners = grid.anchors[:, :2], cxcywh_to_xyxy(grid.anchors)
    best_iou = torch.zeros(grid.num_anchors)
    face_index = torch.full((grid.num_anchors,), -1)
    num_of_levels = [level.rows * level.columns * len(level.sides) for level in grid.levels]
    levels = torch.split(torch.arange(grid.num_anchors), num_of_levels)
    for face, box in enumerate(targets.boxes):
        distance = (centers - (box[:2] + box[2:]) / 2).square().sum(dim=1)
        nearest = torch.cat([level[distance[level].argsort(stable=True)[:num_nearest]] for level in levels])
        iou = pairwise_iou(box[None], corners[nearest])[0]
        threshold = iou.mean() + iou.std()
        for anchor, overlap in zip(nearest.tolist(), iou, strict=True):
            is_inside = bool((centers[anchor] > box[:2]).all() and (centers[anchor] < box[2:]).all())
            if overlap >= threshold and overlap > best_iou[anchor] and is_inside:
                best_iou[anchor], face_index[anchor] = overlap, face
    return face_index


@pytest.mark.parametrize("num_nearest", [9, 4, 1])
def test_adaptive_matching_follows_the_paper(num_nearest: int) -> None:
    targets = random_targets(30, batch_size=1, image_side=160, seed=11)
    settings = AtssMatchingSettings(num_nearest=num_nearest)
    matches = match(targets, settings)
    assert torch.equal(matches.face_index[0], adaptive_matches(targets, num_nearest))
    assert torch.equal(matches.is_background[0], matches.face_index[0] < 0)
    assert bool((matches.face_index >= 0).any())


def test_adaptive_matching_takes_all_anchors_of_a_level_that_has_few() -> None:
    grid = anchor_grid((32, 32), AnchorSettings(), CPU)  # 16, 4 and 1 cells
    matches = match_anchors(make_targets([[4, 4, 28, 28]]), grid, AtssMatchingSettings(num_nearest=9), batch_size=1)
    iou = pairwise_iou(torch.tensor([[4.0, 4, 28, 28]]), cxcywh_to_xyxy(grid.anchors))[0]
    distance = (grid.anchors[:, :2] - 16).square().sum(dim=1)
    nearest = torch.cat([distance[:32].argsort(stable=True)[:9], torch.arange(32, 40), torch.arange(40, 42)])
    threshold = iou[nearest].mean() + iou[nearest].std()
    wanted = sorted(nearest[iou[nearest] >= threshold].tolist())
    assert (matches.face_index[0] >= 0).nonzero()[:, 0].tolist() == wanted


def test_adaptive_matching_takes_levels_with_different_numbers_of_anchors() -> None:
    grid = anchor_grid((160, 160), AnchorSettings(sizes=((8, 12, 20), (40,), (90, 200))), CPU)
    targets = random_targets(30, batch_size=1, image_side=160, seed=12)
    matches = match_anchors(targets, grid, AtssMatchingSettings(), batch_size=1)
    assert torch.equal(matches.face_index[0], adaptive_matches(targets, 9, grid))
