"""Which detection is matched to which labelled face, for a whole data set; every protocol works on these matches.

A detection is matched to the face of its image with which it overlaps most, whether that face counts or not (the rule
of the WIDER FACE tool and of the legacy validation metric); of the matches of a face the first by score may find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import BoolArray, FloatArray
from retinaface_cli.formats.table import FaceTable

FloatValues = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_MAX_PAIRS = 1 << 16
"""Pairs of boxes compared at once: few enough for the processor's cache, and for the memory in a crowd."""

MAX_BORDER = 1.0
"""Widest border, in pixels."""

_SLACK = 1e-2
_RELATIVE_SLACK = 1e-6
"""Pixels, and part of the coordinate, by which boxes are enlarged in the first comparison; above float32's rounding."""


@dataclass(frozen=True, eq=False)
class FaceMatches:
    """All labelled faces (F) and detections (D) of a data set, and which of them belong together.

    Attributes:
        faces: the labels.
        detections: of the same images in the same order, each image's by falling score.
        matched: (D,) index of the face that each detection is matched to, -1 where no face overlaps enough.
        is_first: (D,) whether the detection is the first of its face.
    """

    faces: FaceTable
    detections: FaceTable
    matched: Indices
    is_first: BoolArray

    @property
    def file_names(self) -> Sequence[str]:
        """Of the images."""
        return self.faces.file_names

    @cached_property
    def face_images(self) -> Indices:
        """(F,) index of each face's image."""
        return self.faces.image_index

    @cached_property
    def detection_images(self) -> Indices:
        """(D,) index of each detection's image."""
        return self.detections.image_index

    @cached_property
    def scores(self) -> FloatValues:
        """(D,) scores in float64."""
        return scores_of(self.detections).astype(np.float64)

    @cached_property
    def falling(self) -> Indices:
        """(D,) indices of all detections by falling score; equal scores keep their order."""
        return np.argsort(-scores_of(self.detections), kind="stable")

    def judge(self, counted: BoolArray, *, among: Indices | None = None) -> tuple[BoolArray, BoolArray]:
        """Finds true positives, and the detections that count at all: (D,) each, or as many as `among` has.

        A detection that is matched to a face outside `counted` is neither right nor wrong; a second one of a face, or
        one without a face, is a false positive.

        Args:
            counted: (F,) the faces to be found.
            among: indices of the detections that are judged, in this order; None: all.
        """
        matched, is_first = self.matched, self.is_first
        if among is not None:
            matched, is_first = matched[among], is_first[among]
        on_counted = np.append(counted, False)[matched]  # no face, -1, points at the last
        return on_counted & is_first, on_counted | (matched < 0)


@dataclass(frozen=True, eq=False)
class NearFaces:
    """The faces and detections of a data set as in FaceMatches, and which of them may overlap enough.

    Attributes:
        faces: the labels.
        detections: of the same images in the same order, each image's by falling score.
        iou_threshold: least overlap of a match.
        rows: (P,) detection of each pair, rising.
        columns: (P,) face of each pair, rising for each detection.
    """

    faces: FaceTable
    detections: FaceTable
    iou_threshold: float
    rows: Indices
    columns: Indices

    def match(self, *, border: float = 0.0) -> FaceMatches:
        """Matches every detection to the face that it overlaps most, the first of equal ones.

        Args:
            border: pixels added to every width and height before the overlap is taken, at most MAX_BORDER.
        """
        boxes, face_boxes = self.detections.boxes[self.rows], self.faces.boxes[self.columns]
        ious = pair_ious(boxes, face_boxes, border=border)
        enough = np.flatnonzero(ious >= self.iou_threshold)
        matched = _best_faces(self.rows[enough], self.columns[enough], ious[enough], len(self.detections.boxes))
        return FaceMatches(self.faces, self.detections, matched, _is_first(matched, len(self.faces.boxes)))


def match_faces(
    labels: FaceTable, detections: FaceTable, *, iou_threshold: float = 0.5, border: float = 0.0
) -> FaceMatches:
    """Matches the detections of a data set with its labels: find_near_faces and NearFaces.match in one."""
    return find_near_faces(labels, detections, iou_threshold=iou_threshold).match(border=border)


def find_near_faces(labels: FaceTable, detections: FaceTable, *, iou_threshold: float = 0.5) -> NearFaces:
    """Pairs detections with the faces near them.

    Args:
        labels: the images to be measured on; their names are distinct.
        detections: at most one entry an image; images without one have no detections.
        iou_threshold: least overlap of a match, above 0.

    Raises:
        ValueError: an image appears twice, or detections name an image that the labels do not have.
    """
    detections = align_detections(labels, detections)
    factor = (1 - iou_threshold) / (1 + iou_threshold)
    cores, face_cores = _shrink(detections.boxes, factor), _shrink(labels.boxes, factor)
    rows, columns = _meeting_pairs(cores, face_cores, detections.num_faces.tolist(), labels.num_faces.tolist())
    return NearFaces(labels, detections, iou_threshold, rows, columns)


def align_detections(labels: FaceTable, detections: FaceTable) -> FaceTable:
    """The detections of the labelled images, in their order and under their names, each image's by falling score.

    Raises:
        ValueError: an image appears twice, or detections name an image that the labels do not have.
    """
    if list(labels.file_names) == list(detections.file_names) and len(set(labels.file_names)) == len(labels):
        return _by_score(detections)
    position = {name: index for index, name in enumerate(labels.file_names)}
    if len(position) < len(labels):
        raise ValueError("the labels hold an image twice")
    images: list[int] = []
    for name in detections.file_names:
        if name not in position:
            raise ValueError(f"{name}: not in the labels, or detected twice")
        images.append(position.pop(name))
    return align_images(labels, detections, np.array(images, np.intp))


def align_images(labels: FaceTable, detections: FaceTable, images: Indices) -> FaceTable:
    """The same for detections of which the position of each image in the labels is known, -1 where it has none."""
    known = np.flatnonzero(images >= 0)
    chosen = detections.select_images(known[np.argsort(images[known])])
    num_faces = np.zeros(len(labels), np.intp)
    num_faces[images[known]] = detections.num_faces[known]
    return _by_score(
        replace(
            chosen,
            file_names=labels.file_names,
            num_faces=num_faces,
            image_sizes=labels.image_sizes,
            image_ids=None,
            sources=(),
        )
    )


def scores_of(detections: FaceTable) -> FloatArray:
    """(D,) scores of a table of detections.

    Raises:
        ValueError: the table holds labels.
    """
    if detections.scores is not None:
        return detections.scores
    if len(detections.boxes):
        raise ValueError("expected detections, got labels without scores")
    return np.zeros(0, np.float32)


def pair_ious(boxes_a: FloatArray, boxes_b: FloatArray, *, border: float = 0.0) -> FloatValues:
    """(N,) intersection over union of each box of the first with that of the second in the same row, in float64.

    Args:
        boxes_a: (N, 4).
        boxes_b: (N, 4).
        border: pixels added to every width and height.
    """
    a, b = boxes_a.astype(np.float64).T, boxes_b.astype(np.float64).T  # (4, N)
    width = np.maximum(np.minimum(a[2], b[2]) - np.maximum(a[0], b[0]) + border, 0)
    height = np.maximum(np.minimum(a[3], b[3]) - np.maximum(a[1], b[1]) + border, 0)
    intersection = width * height
    area_a = np.maximum(a[2] - a[0] + border, 0) * np.maximum(a[3] - a[1] + border, 0)
    area_b = np.maximum(b[2] - b[0] + border, 0) * np.maximum(b[3] - b[1] + border, 0)
    union = area_a + area_b - intersection
    ious: FloatValues = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return ious


def _by_score(detections: FaceTable) -> FaceTable:
    """The same, each image's highest score first; equal scores keep their order."""
    scores, images = scores_of(detections), detections.image_index
    if ((scores[1:] <= scores[:-1]) | (images[1:] != images[:-1])).all():
        return detections
    return detections.select_faces(np.lexsort((-scores, images)))


def _shrink(boxes: FloatArray, factor: float) -> FloatArray:
    """(4, N) corners of the boxes with the widest border, shrunk about their centres.

    Along one axis, two lengths with an overlap t have centres at most (1 - t) / (1 + t) times half their sum apart, so
    boxes that are shrunk by this factor meet. With a narrower border they are both nearer to their centres.
    """
    low, high = boxes[:, :2].T, boxes[:, 2:].T + np.float32(MAX_BORDER)
    center = (low + high) / 2
    half = (high - low) / 2 * np.float32(factor) + np.float32(_SLACK) + np.abs(center) * np.float32(_RELATIVE_SLACK)
    return np.concatenate([center - half, center + half])


def _meeting_pairs(
    cores: FloatArray, face_cores: FloatArray, num_detections: Sequence[int], num_faces: Sequence[int]
) -> tuple[Indices, Indices]:
    """Indices of detections and faces of the same image whose (4, N) boxes meet, by detection, then by face."""
    rows: list[Indices] = [np.zeros(0, np.intp)]
    columns: list[Indices] = [np.zeros(0, np.intp)]
    row_end = column_end = 0
    for height, width in zip(num_detections, num_faces, strict=True):
        row_start, column_start = row_end, column_end
        row_end, column_end = row_start + height, column_start + width
        step = max(1, _MAX_PAIRS // max(width, 1))
        b = face_cores[:, column_start:column_end]
        for start in range(row_start, row_end if width else row_start, step):
            a = cores[:, start : min(start + step, row_end), None]
            meets = (a[0] <= b[2]) & (b[0] <= a[2]) & (a[1] <= b[3]) & (b[1] <= a[3])
            row, column = np.divmod(np.flatnonzero(meets), width)
            rows.append(row + start)
            columns.append(column + column_start)
    return np.concatenate(rows), np.concatenate(columns)


def _best_faces(rows: Indices, columns: Indices, ious: FloatValues, num_detections: int) -> Indices:
    """(D,) the face of each detection's pair with the highest overlap, the first of equal ones; -1 without a pair."""
    matched = np.full(num_detections, -1)
    if len(rows) == 0:
        return matched
    starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
    best = np.repeat(np.maximum.reduceat(ious, starts), np.diff(np.append(starts, len(rows))))
    is_best = np.flatnonzero(ious == best)[::-1]
    matched[rows[is_best]] = columns[is_best]  # of several values for one place the last is kept
    return matched


def _is_first(matched: Indices, num_faces: int) -> BoolArray:
    """(D,) whether a detection is the first of its face; the detections of an image come by falling score."""
    order = np.arange(len(matched))
    first = np.full(num_faces + 1, -1)
    first[matched[::-1]] = order[::-1]  # of several values for one place the last is kept; -1 goes to the spare place
    is_first: BoolArray = (matched >= 0) & (first[matched] == order)
    return is_first
