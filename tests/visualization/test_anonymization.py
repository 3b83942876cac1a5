from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.visualization.anonymization import AnonymizationMethod, anonymize_faces

METHODS: tuple[AnonymizationMethod, ...] = ("blur", "pixelate")


def detailed(height: int = 300, width: int = 300) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_within_the_box_no_more_is_left_than_a_few_means(method: AnonymizationMethod) -> None:
    image = detailed()
    hidden = anonymize_faces(image, np.array([[100, 80, 180, 200]], np.float32), method=method)
    before, after = image[80:200, 100:180].astype(int), hidden[80:200, 100:180].astype(int)
    assert after.std() < 0.1 * before.std()
    correlation = np.corrcoef((before - before.mean()).ravel(), (after - after.mean()).ravel())[0, 1]
    assert correlation < 0.15


@pytest.mark.parametrize("method", METHODS)
def test_beyond_the_margin_nothing_changes(method: AnonymizationMethod) -> None:
    image = detailed()
    hidden = anonymize_faces(image, np.array([[100, 80, 180, 200]], np.float32), method=method)
    changed = (hidden != image).any(axis=2)
    rows, columns = np.nonzero(changed)
    # a fifth of 80 x 120 on each side
    assert (columns.min(), columns.max() + 1) == pytest.approx((84, 196), abs=1)
    assert (rows.min(), rows.max() + 1) == pytest.approx((56, 224), abs=1)


def test_pixelated_faces_have_at_most_six_cells_a_side() -> None:
    hidden = anonymize_faces(detailed(), np.array([[100, 100, 200, 200]], np.float32), method="pixelate")
    assert len(np.unique(hidden[150, 80:220], axis=0)) <= 6
    assert len(np.unique(hidden[80:220, 80:220].reshape(-1, 3), axis=0)) <= 36


@pytest.mark.parametrize("method", METHODS)
def test_a_face_that_the_border_cuts_is_hidden_up_to_the_border(method: AnonymizationMethod) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, ::2] = 255
    hidden = anonymize_faces(image, np.array([[0, 0, 60, 100]], np.float32), method=method)
    stripes = np.abs(np.diff(hidden[:, :58, 0].astype(int), axis=1))
    assert np.median(stripes) <= 1
    assert (stripes > 60).mean() < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_tiny_empty_and_outlying_boxes_are_dealt_with(method: AnonymizationMethod) -> None:
    image = detailed(50, 50)
    boxes = np.array([[10, 10, 13, 13], [20.5, 20.5, 20.5, 20.5], [90, 90, 99, 99], [-30, -30, 90, -20]], np.float32)
    hidden = anonymize_faces(image, boxes, method=method)
    assert hidden[10:13, 10:13].std(axis=(0, 1)).max() < 0.65 * image[10:13, 10:13].std(axis=(0, 1)).max()
    np.testing.assert_array_equal(hidden[16:], image[16:])


def test_without_boxes_the_image_stays() -> None:
    image = detailed(20, 20)
    np.testing.assert_array_equal(anonymize_faces(image, np.zeros((0, 4), np.float32), method="blur"), image)
