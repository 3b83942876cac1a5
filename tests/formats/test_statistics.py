"""Counts over a set of labels, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.statistics import best_anchor_overlap, summarize_labels

ANCHORS = (16, 32, 64, 128, 256, 512)


def labels(boxes: list[list[float]], *, points: list[int], ignore: list[bool], blur: list[float]) -> FaceLabels:
    has = np.arange(5) < np.array(points)[:, None]
    landmarks = np.where(has, 1.0, np.nan)[:, :, None].repeat(2, axis=2)
    return FaceLabels(
        boxes=np.array(boxes, np.float32),
        landmarks=landmarks.astype(np.float32),
        has_landmarks=has,
        ignore=np.array(ignore),
        attributes={"blur": np.array(blur, np.float32)},
    )


def test_images_faces_and_attributes_are_counted() -> None:
    first = labels(
        [[0, 0, 4, 16], [0, 0, 16, 16], [0, 0, 40, 40]], points=[5, 3, 0], ignore=[False] * 3, blur=[2, 0, np.nan]
    )
    second = labels([[0, 0, 600, 600]], points=[0], ignore=[True], blur=[2])
    images = [
        ImageLabels("a.jpg", first, 1280, 640),
        ImageLabels("b.jpg", second),
        ImageLabels("c.jpg", FaceLabels.empty(), 100, 100),
    ]
    found = summarize_labels(FaceTable.from_images(images), ANCHORS)
    assert (found.num_images, found.num_without_faces, found.num_only_ignored, found.num_with_size) == (3, 1, 1, 2)
    assert (found.num_faces, found.num_ignored, found.num_complete, found.num_partial) == (4, 1, 1, 1)
    assert found.faces_per_image.tolist() == [3, 1, 0]
    assert found.as_labelled.counts == (0, 1, 1, 1, 0, 0, 0, 0)
    assert found.at_reference.counts == (1, 1, 1, 0, 0, 0, 0, 0)
    assert found.num_below_anchors == 1
    blur = found.attributes["blur"]
    assert (blur.num_known, blur.counts, blur.minimum, blur.maximum) == (3, {0: 1, 2: 2}, 0, 2)


def test_the_best_overlap_is_that_of_the_nearest_anchor() -> None:
    sides = np.array([[16, 16], [8, 8], [32, 16], [1024, 1024]], np.float32)
    assert best_anchor_overlap(sides, ANCHORS).tolist() == pytest.approx([1, 0.25, 0.5, 0.25])


def test_an_attribute_of_many_values_has_a_range() -> None:
    count = 40
    many = labels([[0, 0, 9, 9]] * count, points=[0] * count, ignore=[False] * count, blur=list(np.arange(count) / 2))
    blur = summarize_labels(FaceTable.from_images([ImageLabels("a.jpg", many)]), ANCHORS).attributes["blur"]
    assert blur.counts == {}
    assert (blur.minimum, blur.mean, blur.maximum) == (0, 9.75, 19.5)


def test_no_labels_are_all_zero() -> None:
    found = summarize_labels(FaceTable.from_images([]), ANCHORS)
    assert (found.num_images, found.num_faces, sum(found.as_labelled.counts), found.num_below_anchors) == (0, 0, 0, 0)
