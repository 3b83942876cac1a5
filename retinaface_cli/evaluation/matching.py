"""Which detection claims which labelled face, for a whole data set: the ground that every protocol stands on.

A detection claims the face of its image with which it overlaps most, whether that face counts or not (the rule of
the WIDER FACE tool and of the old validation metric); the first claim on a face in order of score may find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import BoolArray, FaceDetections, FaceLabels, FloatArray, ImageDetections, ImageLabels

FloatValues = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_MAX_PAIRS = 1 << 16
"""Pairs of boxes looked at in one go: few enough for the processor's cache, and for the memory in a crowd."""

MAX_BORDER = 1.0
"""Widest border, in pixels."""

_SLACK = 1e-2
_RELATIVE_SLACK = 1e-6
"""Pixels, and part of the coordinate, by which boxes are too large in the first look; above float32's rounding."""


@dataclass(frozen=True, eq=False)
class FaceMatches:
    """All detections of a data set, image after image, each image's by falling score, with what they claim.

    Attributes:
        file_names: of the images, in the order of the labels.
        faces: all labelled faces, image after image (F of them).
        face_images: (F,) index of each face's image.
        detections: all detections (D of them).
        detection_images: (D,) index of each detection's image.
        claims: (D,) index of the claimed face, -1 where no face overlaps enough.
        is_first: (D,) whether the claim is the first on its face.
    """

    file_names: tuple[str, ...]
    faces: FaceLabels
    face_images: Indices
    detections: FaceDetections
    detection_images: Indices
    claims: Indices
    is_first: BoolArray

    @cached_property
    def scores(self) -> FloatValues:
        """(D,) scores in float64."""
        return self.detections.scores.astype(np.float64)

    @cached_property
    def falling(self) -> Indices:
        """(D,) indices of all detections by falling score; equal scores keep their order."""
        return np.argsort(-self.detections.scores, kind="stable")

    def judge(self, counted: BoolArray, *, among: Indices | None = None) -> tuple[BoolArray, BoolArray]:
        """Finds true positives, and the detections that count at all: (D,) each, or as many as `among` has.

        A detection that claims a face outside `counted` is neither right nor wrong; one that claims a face for the
        second time, or none, is a false positive.

        Args:
            counted: (F,) the faces to be found.
            among: indices of detections that are looked at, in this order; None: all.
        """
        claims, is_first = (self.claims, self.is_first) if among is None else (self.claims[among], self.is_first[among])
        on_counted = np.append(counted, False)[claims]  # no claim, -1, points at the last
        return on_counted & is_first, on_counted | (claims < 0)


@dataclass(frozen=True, eq=False)
class NearFaces:
    """The detections and faces of a data set as in FaceMatches, and which of them may overlap enough.

    Attributes:
        file_names: of the images.
        faces: all labelled faces.
        face_images: (F,) index of each face's image.
        detections: all detections.
        detection_images: (D,) index of each detection's image.
        iou_threshold: least overlap of a claim.
        rows: (P,) detection of each pair, rising.
        columns: (P,) face of each pair, rising for each detection.
    """

    file_names: tuple[str, ...]
    faces: FaceLabels
    face_images: Indices
    detections: FaceDetections
    detection_images: Indices
    iou_threshold: float
    rows: Indices
    columns: Indices

    def match(self, *, border: float = 0.0) -> FaceMatches:
        """Lets every detection claim the face that it overlaps most, the first of equal ones.

        Args:
            border: pixels added to every width and height before the overlap is taken, at most MAX_BORDER.
        """
        boxes, face_boxes = self.detections.boxes[self.rows], self.faces.boxes[self.columns]
        ious = pair_ious(boxes, face_boxes, border=border)
        enough = np.flatnonzero(ious >= self.iou_threshold)
        claims = _best_claims(self.rows[enough], self.columns[enough], ious[enough], len(self.detections))
        return FaceMatches(
            file_names=self.file_names,
            faces=self.faces,
            face_images=self.face_images,
            detections=self.detections,
            detection_images=self.detection_images,
            claims=claims,
            is_first=_first_claims(claims, len(self.faces)),
        )


def match_faces(
    labels: Sequence[ImageLabels],
    detections: Sequence[ImageDetections],
    *,
    iou_threshold: float = 0.5,
    border: float = 0.0,
) -> FaceMatches:
    """Matches the detections of a data set with its labels: find_near_faces and NearFaces.match in one."""
    return find_near_faces(labels, detections, iou_threshold=iou_threshold).match(border=border)


def find_near_faces(
    labels: Sequence[ImageLabels], detections: Sequence[ImageDetections], *, iou_threshold: float = 0.5
) -> NearFaces:
    """Pairs images by file name, and their detections with the faces near them.

    Args:
        labels: the images to be measured on; their names are distinct.
        detections: at most one entry an image; images without one have no detections.
        iou_threshold: least overlap of a claim, above 0.

    Raises:
        ValueError: an image appears twice, or detections name an image that the labels do not have.
    """
    found = _by_name(labels, detections)
    faces = concatenate_labels([image.faces for image in labels])
    sorted_detections = [_by_score(found[image.file_name]) for image in labels]
    joined = _concatenate_detections(sorted_detections)
    num_faces = [len(image.faces) for image in labels]
    num_detections = [len(one) for one in sorted_detections]
    factor = (1 - iou_threshold) / (1 + iou_threshold)
    cores, face_cores = _shrink(joined.boxes, factor), _shrink(faces.boxes, factor)
    rows, columns = _meeting_pairs(cores, face_cores, num_detections, num_faces)
    return NearFaces(
        file_names=tuple(image.file_name for image in labels),
        faces=faces,
        face_images=np.repeat(np.arange(len(labels)), num_faces),
        detections=joined,
        detection_images=np.repeat(np.arange(len(labels)), num_detections),
        iou_threshold=iou_threshold,
        rows=rows,
        columns=columns,
    )


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


def concatenate_labels(faces: Sequence[FaceLabels]) -> FaceLabels:
    """The faces of several images in one; attributes that an image lacks are NaN."""
    if not faces:
        return FaceLabels.empty()
    names = dict.fromkeys(name for one in faces for name in one.attributes)
    return FaceLabels(
        boxes=np.concatenate([one.boxes for one in faces]),
        landmarks=np.concatenate([one.landmarks for one in faces]),
        has_landmarks=np.concatenate([one.has_landmarks for one in faces]),
        ignore=np.concatenate([one.ignore for one in faces]),
        attributes={
            name: np.concatenate([one.attributes.get(name, np.full(len(one), np.nan, np.float32)) for one in faces])
            for name in names
        },
    )


def _concatenate_detections(faces: Sequence[FaceDetections]) -> FaceDetections:
    if not faces:
        return FaceDetections.empty()
    return FaceDetections(
        boxes=np.concatenate([one.boxes for one in faces]),
        landmarks=np.concatenate([one.landmarks for one in faces]),
        scores=np.concatenate([one.scores for one in faces]),
    )


def _by_name(labels: Sequence[ImageLabels], detections: Sequence[ImageDetections]) -> dict[str, FaceDetections]:
    """Detections of every labelled image."""
    found = {image.file_name: FaceDetections.empty() for image in labels}
    if len(found) < len(labels):
        raise ValueError("the labels hold an image twice")
    seen: set[str] = set()
    for image in detections:
        if image.file_name not in found or image.file_name in seen:
            raise ValueError(f"{image.file_name}: not in the labels, or detected twice")
        seen.add(image.file_name)
        found[image.file_name] = image.faces
    return found


def _by_score(faces: FaceDetections) -> FaceDetections:
    """The same, highest score first; equal scores keep their order."""
    if (faces.scores[1:] <= faces.scores[:-1]).all():
        return faces
    return faces.select(np.argsort(-faces.scores, kind="stable"))


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


def _best_claims(rows: Indices, columns: Indices, ious: FloatValues, num_detections: int) -> Indices:
    """(D,) the face of each detection's pair with the highest overlap, the first of equal ones; -1 without a pair."""
    claims = np.full(num_detections, -1)
    if len(rows) == 0:
        return claims
    starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
    best = np.repeat(np.maximum.reduceat(ious, starts), np.diff(np.append(starts, len(rows))))
    is_best = np.flatnonzero(ious == best)[::-1]
    claims[rows[is_best]] = columns[is_best]  # of several values for one place the last is kept
    return claims


def _first_claims(claims: Indices, num_faces: int) -> BoolArray:
    """(D,) whether a claim is the first on its face; the detections of an image come by falling score."""
    order = np.arange(len(claims))
    first = np.full(num_faces + 1, -1)
    first[claims[::-1]] = order[::-1]  # of several values for one place the last is kept; -1 goes to the spare place
    is_first: BoolArray = (claims >= 0) & (first[claims] == order)
    return is_first
