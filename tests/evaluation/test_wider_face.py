"""The WIDER FACE protocol: each rule by hand, a plain loop over the rules, and the official tool's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.evaluation.wider_face import WiderSubset, evaluate_wider_face
from retinaface_cli.faces import ImageDetections, ImageLabels
from tests.evaluation.images import detected, labelled, random_images, recorded_detections, tables, wider_dev_labels

A = (0, 0, 20, 20)
B = (100, 0, 130, 30)
C = (200, 0, 240, 40)
NOWHERE = (500, 500, 520, 520)


def score(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections]) -> WiderSubset:
    truth, found = tables(labels, detections)
    return evaluate_wider_face(truth, found, subsets={"all": ~truth.ignore}).subsets["all"]


def test_one_face_found_once_scores_one() -> None:
    result = score([labelled(A)], [detected((0.6, A))])
    assert (result.ap, result.recall, result.num_faces) == (1.0, 1.0, 1)


def test_an_ignored_face_hit_twice_costs_nothing() -> None:
    faces = labelled(A, B, ignore=[False, True])
    assert score([faces], [detected((0.9, B), (0.8, B), (0.7, A))]).ap == 1.0


def test_a_second_hit_on_a_counted_face_is_a_false_positive() -> None:
    # recall, precision: (1/2, 1), (1/2, 1/2), (1, 2/3): area 1/2 * 1 + 1/2 * 2/3
    result = score([labelled(A, B)], [detected((0.9, A), (0.8, A), (0.7, B))])
    assert result.ap == pytest.approx(5 / 6, abs=1e-12)


def test_a_detection_belongs_to_the_face_it_overlaps_most_even_if_that_is_ignored() -> None:
    near_a = (0, 0, 20, 26)  # IoU with +1: 21 * 21 / (21 * 27) = .78 with A, 21 * 27 / (21 * 31) = .87 with the other
    faces = labelled(A, (0, 0, 20, 30), ignore=[False, True])
    assert score([faces], [detected((0.9, near_a))]).ap == 0.0
    assert score([faces], [detected((0.9, near_a), (0.8, A))]).ap == 1.0


def test_faces_of_a_image_without_predictions_are_missed() -> None:
    labels = [labelled(A, name="a.jpg"), labelled(A, name="b.jpg")]
    assert score(labels, [detected((0.9, A), name="b.jpg")]).ap == 0.5
    empty = detected(name="a.jpg")
    assert score(labels, [empty, detected((0.9, A), name="b.jpg")]).ap == 0.5


def test_of_two_faces_at_one_place_the_first_is_hit_always() -> None:
    # (1/2, 1), (1/2, 1/2): the second face is never found
    assert score([labelled(A, A)], [detected((0.9, A), (0.8, A))]).ap == 0.5
    assert score([labelled(A, A, ignore=[True, False])], [detected((0.9, A), (0.8, A))]).ap == 0.0


def test_equal_scores_all_pass_the_same_threshold() -> None:
    # one right, one wrong at the only score: precision 1/2 at recall 1
    assert score([labelled(A)], [detected((0.5, A), (0.5, NOWHERE))]).ap == 0.5
    assert score([labelled(A)], [detected((0.0, A), (0.0, NOWHERE))]).ap == 0.5
    assert score([labelled(A)], [detected((1.0, A))]).ap == 1.0


def test_scores_closer_than_a_thousandth_are_not_told_apart() -> None:
    # at the first threshold, .999, both count: (1, 1/2)
    detections = detected((1.0, A), (0.9995, NOWHERE), (0.0, NOWHERE))
    assert score([labelled(A)], [detections]).ap == 0.5
    # .9985 comes at the second threshold: (1, 1) first
    detections = detected((1.0, A), (0.9985, NOWHERE), (0.0, NOWHERE))
    assert score([labelled(A)], [detections]).ap == 1.0


def test_scores_are_rescaled_over_the_whole_data_set() -> None:
    # Alone, each image's best would rank first; together 0.2 ranks behind the false 0.6:
    # (1/2, 1), (1/2, 1/2), (1, 2/3)
    labels = [labelled(A, name="a.jpg"), labelled(A, name="b.jpg")]
    detections = [detected((0.9, A), (0.6, NOWHERE), name="a.jpg"), detected((0.2, A), name="b.jpg")]
    assert score(labels, detections).ap == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-12)


def test_one_pixel_is_added_to_widths_and_heights_and_half_is_enough() -> None:
    # 10 x 5 inside 10 x 10: exactly .5 (without the pixel 9 x 4 in 9 x 9: .44)
    assert score([labelled((0, 0, 9, 9))], [detected((0.9, (0, 0, 9, 4)))]).ap == 1.0
    assert score([labelled((0, 0, 9, 9))], [detected((0.9, (0, 0, 9, 3)))]).ap == 0.0


def test_a_false_positive_counts_in_a_image_of_ignored_faces() -> None:
    labels = [labelled(A, name="a.jpg"), labelled(B, name="b.jpg", ignore=[True])]
    detections = [detected((0.8, A), name="a.jpg"), detected((0.9, NOWHERE), name="b.jpg")]
    assert score(labels, detections).ap == 0.5


def test_the_order_of_the_detections_does_not_matter() -> None:
    unsorted = detected((0.7, B), (0.9, A), (0.8, A))
    assert score([labelled(A, B)], [unsorted]).ap == pytest.approx(5 / 6, abs=1e-12)


def test_without_predictions_or_counted_faces_the_score_is_zero() -> None:
    assert score([labelled(A)], []).ap == 0.0
    nothing = score([labelled(A, ignore=[True])], [detected((0.9, A))])
    assert (nothing.ap, nothing.num_faces) == (0.0, 0)
    assert score([], []).ap == 0.0
    assert score([labelled()], [detected((0.9, A))]).ap == 0.0


def test_subsets_say_which_faces_count() -> None:
    subsets = {"first": np.array([True, False]), "both": np.array([True, True])}
    report = evaluate_wider_face(*tables([labelled(A, B)], [detected((0.9, A))]), subsets=subsets)
    assert report.subsets["first"].ap == 1.0
    assert report.subsets["both"].ap == 0.5
    assert report.subsets["both"].num_faces == 2


def test_unknown_and_repeated_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"b\.jpg"):
        score([labelled(A)], [detected(name="b.jpg")])
    with pytest.raises(ValueError, match="twice"):
        score([labelled(A)], [detected(), detected()])
    with pytest.raises(ValueError, match="twice"):
        score([labelled(A), labelled(A)], [])


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return width * height / (area_a + area_b - width * height)


def verdicts(image: ImageLabels, found: ImageDetections) -> list[tuple[float, bool, bool]]:
    """Score, counts, right for each detection of an image, by the rules one after the other."""
    boxes, ignore = image.faces.boxes.tolist(), image.faces.ignore.tolist()
    order = sorted(range(len(found.faces)), key=lambda i: -float(found.faces.scores[i]))
    taken: set[int] = set()
    result = []
    for i in order:
        ious = [iou(found.faces.boxes[i].tolist(), box) for box in boxes]
        best = max(range(len(ious)), key=lambda j: ious[j])
        counts = right = ious[best] < 0.5
        if not counts and not ignore[best]:
            counts, right = True, best not in taken
            taken.add(best)
        elif counts:
            right = False
        result.append((float(found.faces.scores[i]), counts, right))
    return result


@pytest.mark.parametrize("seed", range(6))
def test_random_images_score_as_a_plain_loop_over_the_rules(seed: int) -> None:
    labels, detections = random_images(seed)
    found = {image.file_name: image for image in detections}
    judged = [one for image in labels if image.file_name in found for one in verdicts(image, found[image.file_name])]
    low, high = min(s for s, _, _ in judged), max(s for s, _, _ in judged)
    num_faces = sum(int((~image.faces.ignore).sum()) for image in labels)
    area, last_recall, points = 0.0, 0.0, []
    for t in range(1000):
        taken = [(c, r) for s, c, r in judged if (s - low) / (high - low) >= 1 - (t + 1) / 1000]
        num_true = sum(r for _, r in taken)
        points.append((num_true / num_faces, num_true / max(sum(c for c, _ in taken), 1)))
    for index, (recall, _) in enumerate(points):
        area += (recall - last_recall) * max(precision for _, precision in points[index:])
        last_recall = recall
    assert score(labels, detections).ap == pytest.approx(area, abs=1e-12)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("whole_numbers", "expected"),
    [(False, (0.8883384274, 0.8544885426, 0.7088689507)), (True, (0.8868546986, 0.8548356153, 0.7089983930))],
)
def test_the_recorded_detections_score_as_the_official_tool_says(
    shared: Path, whole_numbers: bool, expected: tuple[float, float, float]
) -> None:
    labels, subsets = wider_dev_labels(shared)
    report = evaluate_wider_face(
        *tables(labels, recorded_detections(shared, whole_numbers=whole_numbers)), subsets=subsets
    )
    assert [report.subsets[name].ap for name in ("easy", "medium", "hard")] == pytest.approx(expected, abs=1e-10)
