"""AP50 by hand, and the numbers derived from the curve."""

from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.evaluation.average_precision import PrecisionRecallCurve, score_ap50
from tests.evaluation.images import detected, labelled, matched

A = (0, 0, 20, 20)
B = (100, 0, 130, 30)
C = (200, 0, 240, 40)
NOWHERE = (500, 500, 520, 520)


def test_right_wrong_right_of_three_faces() -> None:
    # recall, precision: (1/3, 1), (1/3, 1/2), (2/3, 2/3)
    report = score_ap50(matched([labelled(A, B, C)], [detected((0.9, A), (0.8, NOWHERE), (0.7, B))]))
    assert report.ap == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    assert report.recall == pytest.approx(2 / 3)
    assert report.num_faces == 3
    # F1: 2 * 1 * 1/3 / (4/3) = 1/2 first, 2/3 last
    assert report.best_f1 == pytest.approx(2 / 3)
    assert report.best_f1_score == pytest.approx(0.7)


def test_scores_are_compared_as_they_are_over_all_images() -> None:
    labels = [labelled(A, name="a.jpg"), labelled(A, name="b.jpg")]
    detections = [detected((0.9, A), (0.6, NOWHERE), name="a.jpg"), detected((0.2, A), name="b.jpg")]
    assert score_ap50(matched(labels, detections)).ap == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_no_pixel_is_added_and_half_is_enough() -> None:
    half, less = (0, 0, 10, 5), (0, 0, 10, 4.99)
    assert score_ap50(matched([labelled((0, 0, 10, 10))], [detected((0.9, half))])).ap == 1.0
    assert score_ap50(matched([labelled((0, 0, 10, 10))], [detected((0.9, less))])).ap == 0.0


def test_the_old_figure_leaves_out_scores_up_to_a_tenth() -> None:
    report = score_ap50(matched([labelled(A, B, C)], [detected((0.9, A), (0.11, B), (0.1, C))]))
    assert report.ap == 1.0
    assert report.ap_legacy == pytest.approx(2 / 3)


def test_ignored_faces_neither_help_nor_hurt() -> None:
    faces = labelled(A, B, ignore=[False, True])
    report = score_ap50(matched([faces], [detected((0.9, B), (0.8, A))]))
    assert (report.ap, report.num_faces) == (1.0, 1)


def test_equal_scores_are_one_point_of_the_curve() -> None:
    right_first = score_ap50(matched([labelled(A)], [detected((0.5, A), (0.5, NOWHERE))]))
    wrong_first = score_ap50(matched([labelled(A)], [detected((0.5, NOWHERE), (0.5, A))]))
    assert right_first.ap == wrong_first.ap == 0.5
    assert len(right_first.curve.scores) == 1


def test_a_image_without_faces_can_only_lose() -> None:
    labels = [labelled(A), labelled(name="empty.jpg")]
    assert score_ap50(matched(labels, [detected((0.8, A)), detected((0.9, A), name="empty.jpg")])).ap == 0.5


def test_nothing_found_and_nothing_to_find_are_zero() -> None:
    assert score_ap50(matched([labelled(A)], [])).ap == 0.0
    nothing = score_ap50(matched([labelled()], []))
    assert (nothing.ap, nothing.recall, nothing.best_f1, nothing.best_f1_score) == (0.0, 0.0, 0.0, 0.0)


def test_the_area_is_that_of_the_envelope() -> None:
    curve = PrecisionRecallCurve(
        scores=np.array([0.9, 0.8, 0.7]), precision=np.array([0.5, 0.75, 0.25]), recall=np.array([0.2, 0.6, 0.8])
    )
    assert curve.average_precision == pytest.approx(0.6 * 0.75 + 0.2 * 0.25)
