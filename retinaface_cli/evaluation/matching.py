"""Which detection claims which labelled face, for a whole data set: the ground that every protocol stands on.

A detection claims the face of its picture with which it overlaps most, whether that face counts or not (the rule of
the WIDER FACE tool and of the old validation metric); the first claim on a face in order of score may find it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import BoolArray, FaceDetections, FaceLabels, ImageDetections, ImageLabels

FloatValues = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_MAX_PAIRS = 1 << 20
"""Pairs of boxes looked at in one go, so that crowded pictures do not fill the memory."""


@dataclass(frozen=True, eq=False)
class FaceMatches:
    """All detections of a data set, picture after picture, each picture's by falling score, with what they claim.

    Attributes:
        file_names: of the pictures, in the order of the labels.
        faces: all labelled faces, picture after picture (F of them).
        face_images: (F,) index of each face's picture.
        detections: all detections (D of them).
        detection_images: (D,) index of each detection's picture.
        claims: (D,) index of the claimed face, -1 where no face overlaps enough.
        ious: (D,) overlap with the best face of the picture, 0 where there is none.
        is_first: (D,) whether the claim is the first on its face.
    """

    file_names: tuple[str, ...]
    faces: FaceLabels
    face_images: Indices
    detections: FaceDetections
    detection_images: Indices
    claims: Indices
    ious: FloatValues
    is_first: BoolArray

    @property
    def scores(self) -> FloatValues:
        """(D,) scores in float64."""
        return self.detections.scores.astype(np.float64)

    def judge(self, counted: BoolArray) -> tuple[BoolArray, BoolArray]:
        """Finds (D,) true positives and (D,) detections that count at all.

        A detection that claims a face outside `counted` is neither right nor wrong; one that claims a face for the
        second time, or none, is a false positive.

        Args:
            counted: (F,) the faces to be found.
        """
        claims_any = self.claims >= 0
        on_counted = np.zeros(len(self.claims), np.bool_)
        on_counted[claims_any] = counted[self.claims[claims_any]]
        return on_counted & self.is_first, on_counted | ~claims_any


def match_faces(
    labels: Sequence[ImageLabels],
    detections: Sequence[ImageDetections],
    *,
    iou_threshold: float = 0.5,
    border: float = 0.0,
) -> FaceMatches:
    """Matches the detections of a data set with its labels, pairing pictures by file name.

    Args:
        labels: the pictures to be measured on; their names are distinct.
        detections: at most one entry a picture; pictures without one have no detections.
        iou_threshold: least overlap of a claim.
        border: pixels added to every width and height before the overlap is taken; 1 in the WIDER FACE tool.

    Raises:
        ValueError: a picture appears twice, or detections name a picture that the labels do not have.
    """
    found = _by_name(labels, detections)
    sorted_faces = [_by_score(found[image.file_name]) for image in labels]
    num_faces = [len(image.faces) for image in labels]
    starts = np.concatenate([[0], np.cumsum(num_faces, dtype=np.intp)])
    best = [
        _best_faces(boxes.boxes, image.faces.boxes, border) for boxes, image in zip(sorted_faces, labels, strict=True)
    ]
    detection_images = np.repeat(np.arange(len(labels)), [len(faces) for faces in sorted_faces])
    ious = np.concatenate([iou for _, iou in best] or [np.zeros(0)])
    claims = np.concatenate([index for index, _ in best] or [np.zeros(0, np.intp)]) + starts[detection_images]
    claims = np.where((ious >= iou_threshold) & (ious > 0), claims, -1)
    return FaceMatches(
        file_names=tuple(image.file_name for image in labels),
        faces=concatenate_labels([image.faces for image in labels]),
        face_images=np.repeat(np.arange(len(labels)), num_faces),
        detections=_concatenate_detections(sorted_faces),
        detection_images=detection_images,
        claims=claims,
        ious=ious,
        is_first=_first_claims(claims, int(starts[-1])),
    )


def pairwise_iou(boxes_a: npt.NDArray[np.float32], boxes_b: npt.NDArray[np.float32], border: float) -> FloatValues:
    """(N, M) intersection over union in float64; `border` pixels are added to every width and height."""
    a, b = boxes_a.astype(np.float64)[:, :, None], boxes_b.astype(np.float64).T  # (N, 4, 1), (4, M)
    width = np.minimum(a[:, 2], b[2])
    width -= np.maximum(a[:, 0], b[0]) - border
    height = np.minimum(a[:, 3], b[3])
    height -= np.maximum(a[:, 1], b[1]) - border
    intersection = np.maximum(width, 0, out=width)
    intersection *= np.maximum(height, 0, out=height)
    area_a = np.maximum(a[:, 2] - a[:, 0] + border, 0) * np.maximum(a[:, 3] - a[:, 1] + border, 0)
    area_b = np.maximum(b[2] - b[0] + border, 0) * np.maximum(b[3] - b[1] + border, 0)
    union = area_a + area_b
    union -= intersection
    ious: FloatValues = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return ious


def concatenate_labels(faces: Sequence[FaceLabels]) -> FaceLabels:
    """The faces of several pictures in one; attributes that a picture lacks are NaN."""
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
    """Detections of every labelled picture."""
    found = {image.file_name: FaceDetections.empty() for image in labels}
    if len(found) < len(labels):
        raise ValueError("the labels hold a picture twice")
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


def _best_faces(
    boxes: npt.NDArray[np.float32], face_boxes: npt.NDArray[np.float32], border: float
) -> tuple[Indices, FloatValues]:
    """(N,) index of the face that overlaps most with each box (the first of equal ones), and that overlap."""
    if len(face_boxes) == 0 or len(boxes) == 0:
        return np.zeros(len(boxes), np.intp), np.zeros(len(boxes))
    rows = max(1, _MAX_PAIRS // len(face_boxes))
    if len(boxes) > rows:
        parts = [_best_faces(boxes[start : start + rows], face_boxes, border) for start in range(0, len(boxes), rows)]
        return np.concatenate([index for index, _ in parts]), np.concatenate([iou for _, iou in parts])
    ious = pairwise_iou(boxes, face_boxes, border)
    best = ious.argmax(axis=1)
    return best, ious[np.arange(len(boxes)), best]


def _first_claims(claims: Indices, num_faces: int) -> BoolArray:
    """(D,) whether a claim is the first on its face; the detections of a picture come by falling score."""
    order = np.arange(len(claims))
    first = np.full(num_faces + 1, -1)
    first[claims[::-1]] = order[::-1]  # of several values for one place the last is kept; -1 goes to the spare place
    is_first: BoolArray = (claims >= 0) & (first[claims] == order)
    return is_first
