"""What is in a set of labels, in numbers: counts, face sizes against the anchors, attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retinaface_cli.faces import NUM_LANDMARKS, FloatArray
from retinaface_cli.formats.table import FaceTable

SIZE_EDGES = (8, 16, 32, 64, 128, 256, 512)
"""Limits in pixels between the bins of the face-size histogram."""

REFERENCE_SIDE = 640
"""Longest side, in pixels, of the network input that face sizes are compared at."""

MIN_ANCHOR_OVERLAP = 0.2
"""A face that overlaps no anchor by this much (IoU) is not learned from."""

_MAX_CLASSES = 12
"""An attribute with more values than this is described by its range."""


class SizeHistogram(NamedTuple):
    """Faces that are not ignored by size, the square root of their area in pixels.

    Attributes:
        sizes: (M,) of the faces.
        counts: faces of each bin of SIZE_EDGES, the first below the first edge, the last from the last edge on.
    """

    sizes: FloatArray
    counts: tuple[int, ...]


class AttributeSummary(NamedTuple):
    """One attribute of the faces that have it.

    Attributes:
        num_known: faces that have it.
        counts: value -> faces, where it has few values; else empty.
        minimum: smallest value.
        mean: their mean.
        maximum: largest value.
    """

    num_known: int
    counts: Mapping[float, int]
    minimum: float
    mean: float
    maximum: float


class LabelStatistics(NamedTuple):
    """Counts over a set of labels.

    Attributes:
        num_images: images.
        num_without_faces: images without any face.
        num_only_ignored: images all of whose faces are ignored.
        num_with_size: images whose width and height are known.
        num_faces: faces, ignored ones too.
        num_ignored: ignored faces.
        num_complete: faces with five landmarks.
        num_partial: faces with one to four landmarks.
        faces_per_image: (P,) number of faces.
        as_labelled: sizes in pixels of the original images.
        at_reference: sizes where the longest side is REFERENCE_SIDE, of images whose size is known.
        num_below_anchors: faces of at_reference that overlap no anchor by MIN_ANCHOR_OVERLAP however it lies.
        attributes: by name.
    """

    num_images: int
    num_without_faces: int
    num_only_ignored: int
    num_with_size: int
    num_faces: int
    num_ignored: int
    num_complete: int
    num_partial: int
    faces_per_image: FloatArray
    as_labelled: SizeHistogram
    at_reference: SizeHistogram
    num_below_anchors: int
    attributes: Mapping[str, AttributeSummary]


def summarize_labels(table: FaceTable, anchor_sizes: Sequence[float]) -> LabelStatistics:
    """Counts everything; anchor sizes are side lengths in pixels of the network input."""
    num_points = table.has_landmarks.sum(axis=1)
    num_counted = np.bincount(table.image_index[~table.ignore], minlength=len(table))
    sides = table.boxes[:, 2:] - table.boxes[:, :2]  # (N, 2)
    scale = _reference_scale(table)
    is_scaled = ~table.ignore & (scale > 0)
    scaled = sides[is_scaled] * scale[is_scaled, None]
    return LabelStatistics(
        num_images=len(table),
        num_without_faces=int((table.num_faces == 0).sum()),
        num_only_ignored=int(((table.num_faces > 0) & (num_counted == 0)).sum()),
        num_with_size=int((table.image_sizes > 0).all(axis=1).sum()),
        num_faces=len(table.boxes),
        num_ignored=int(table.ignore.sum()),
        num_complete=int((num_points == NUM_LANDMARKS).sum()),
        num_partial=int(((num_points > 0) & (num_points < NUM_LANDMARKS)).sum()),
        faces_per_image=table.num_faces.astype(np.float32),
        as_labelled=_histogram(sides[~table.ignore]),
        at_reference=_histogram(scaled),
        num_below_anchors=int((best_anchor_overlap(scaled, anchor_sizes) < MIN_ANCHOR_OVERLAP).sum()),
        attributes={name: _summarize(values) for name, values in table.attributes.items() if np.isfinite(values).any()},
    )


def best_anchor_overlap(sides: FloatArray, anchor_sizes: Sequence[float]) -> FloatArray:
    """(N,) highest IoU of (N, 2) boxes with a square anchor of any of the sizes on the same centre."""
    best = np.zeros(len(sides), np.float32)
    areas = sides.prod(axis=1)
    for size in anchor_sizes:
        shared = np.minimum(sides, np.float32(size)).prod(axis=1)
        best = np.maximum(best, shared / (areas + np.float32(size) ** 2 - shared))
    return best


def _reference_scale(table: FaceTable) -> FloatArray:
    """(N,) by how much each face is scaled where its image's longest side is REFERENCE_SIDE; 0 where unknown."""
    longest = table.image_sizes.max(axis=1, initial=0).astype(np.float32)
    with np.errstate(divide="ignore"):
        scale = np.where(longest > 0, REFERENCE_SIDE / longest, 0.0)
    return np.repeat(scale, table.num_faces).astype(np.float32)


def _histogram(sides: FloatArray) -> SizeHistogram:
    """Sizes of (N, 2) boxes, dealt out to the bins."""
    sizes = np.sqrt(sides.prod(axis=1))
    bins = np.searchsorted(np.array(SIZE_EDGES, np.float32), sizes, side="right")
    return SizeHistogram(sizes, tuple(np.bincount(bins, minlength=len(SIZE_EDGES) + 1).tolist()))


def _summarize(values: FloatArray) -> AttributeSummary:
    """One attribute; NaN is unknown."""
    known = values[np.isfinite(values)].astype(np.float64)
    found, counts = np.unique(known, return_counts=True)
    few = dict(zip(found.tolist(), counts.tolist(), strict=True)) if len(found) <= _MAX_CLASSES else {}
    return AttributeSummary(len(known), few, float(known.min()), float(known.mean()), float(known.max()))
