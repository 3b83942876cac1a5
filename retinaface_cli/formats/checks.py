"""Every face is checked once, where it is read: what can be put right is, the rest is marked, and all is counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_MIRROR_ORDER, NUM_LANDMARKS, BoolArray, FloatArray, IntArray
from retinaface_cli.formats.table import (
    OCCLUDED_LANDMARKS,
    OCCLUSION_BITS,
    Action,
    FaceTable,
    Finding,
    Float64Array,
    read_occlusion,
)

MAX_COORDINATE = 1e7
"""Pixels beyond this are no place in an image; below it areas and differences are exact enough in float32."""

BORDER_TOLERANCE = 0.01
"""Pixels that a box may pass the border, as rounding in a file does, without being called a fault."""

LANDMARK_MARGIN = 2.0
"""A landmark farther from its box than this many times the box's longer side is not that face's."""

_CLEAR_TURN = 0.05
"""Part of the box's area below which a face is too much in profile to tell which eye is left."""

_MIN_VOTES, _MIN_MIRRORED_PART = 3, 0.75
"""Clear faces, and part of them with the eyes the other way round, from which a source is taken to be mirrored."""

_UNIT_LIMIT = 1.05
"""Boxes that all end before this are parts of the image, not pixels."""

_SCORE_SLACK = 1e-6
"""A score may pass 1 (or 0) by this, as rounding does, and is then clipped."""

InvalidPolicy = Literal["ignore", "keep", "drop"]
Note = Callable[[str, Action, BoolArray], None]


def check_labels(table: FaceTable, *, invalid: InvalidPolicy = "ignore", min_size: float = 0.0) -> FaceTable:
    """Makes valid faces of what a reader took from a source.

    After this boxes are finite, ordered and inside the image; boxes without area are ignored; landmarks are finite
    and near their face.

    Args:
        table: faces as read.
        invalid: what becomes of faces that the source marks as invalid; `drop` also removes all other ignored faces.
        min_size: faces whose shorter side is under this many pixels are ignored.

    Raises:
        LabelFormatError: the boxes are parts of 1, and the sizes of the images are not known.
    """
    table = noted = scale_unit_boxes(table)

    def note(reason: str, action: Action, faces: BoolArray) -> None:
        """Counts the faces of a mask (N,), with the places of the first few."""
        nonlocal noted
        noted = noted.with_finding(reason, action, faces)

    is_lost = ~_all(np.abs(table.boxes) <= MAX_COORDINATE)
    note(f"box not finite or beyond {MAX_COORDINATE:,.0f} pixels, face dropped", "dropped", is_lost)
    boxes, has_no_area = _check_boxes(table, is_lost, note)
    landmarks, has_landmarks, attributes = _check_landmarks(table, boxes, note)
    is_small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < min_size
    is_small &= ~has_no_area & ~is_lost
    note(f"face under {min_size:g} pixels, ignored", "requested", is_small)
    marked = table.ignore if invalid != "keep" else np.zeros_like(table.ignore)
    ignore = marked | has_no_area | is_small
    keep = ~is_lost
    if invalid == "drop":
        note("ignored face, dropped", "requested", ignore & keep)
        keep &= ~ignore
    for name, values in attributes.items():
        note(f"attribute {name} that is no finite number, taken as unknown", "corrected", np.isinf(values))
    checked = replace(
        noted,
        boxes=boxes.astype(np.float32),
        landmarks=landmarks,
        has_landmarks=has_landmarks,
        ignore=ignore,
        attributes={name: np.where(np.isinf(values), np.nan, values) for name, values in attributes.items()},
    )
    return checked if keep.all() else checked.select_faces(keep)


def check_predictions(table: FaceTable) -> FaceTable:
    """Sorts the faces of each image, highest score first (equal scores keep their order), after checking them.

    Nothing is changed or left out: predictions that are wrong are refused, so that no score is computed from them.

    Raises:
        LabelFormatError: a number that is not finite, a score outside [0, 1], or an image that comes twice.
    """
    table = scale_unit_boxes(table)
    scores = table.scores
    if scores is None:
        raise LabelFormatError("expected predictions with scores, got labels")
    points = np.where(table.has_landmarks[:, :, None], table.landmarks, 0).reshape(-1, 2 * NUM_LANDMARKS)
    is_finite = _all(np.isfinite(table.boxes)) & np.isfinite(scores) & ~_any(np.isinf(points))
    if not is_finite.all():
        place = table.place(int(np.flatnonzero(~is_finite)[0]))
        raise LabelFormatError(f"{place}: a number is not finite, or too large, in box, score or landmarks")
    is_outside = (scores < -_SCORE_SLACK) | (scores > 1 + _SCORE_SLACK)
    if is_outside.any():
        face = int(np.flatnonzero(is_outside)[0])
        raise LabelFormatError(
            f"{table.place(face)}: score {scores[face]:g} is outside [0, 1]; "
            "divide percentages by 100, put logits through a sigmoid"
        )
    scores = np.clip(scores, 0, 1)
    has = table.has_landmarks & _all(np.isfinite(table.landmarks))
    landmarks = np.where(has[:, :, None], table.landmarks, np.float32(np.nan))
    checked = replace(table, scores=scores, landmarks=landmarks, has_landmarks=has)
    order = np.lexsort((-scores, table.image_index))
    return checked if (np.diff(order) == 1).all() else checked.select_faces(order)


def has_unit_boxes(table: FaceTable) -> bool:
    """Whether all boxes are parts of 1, and not a few pixels with whole numbers."""
    known = table.boxes[_all(np.isfinite(table.boxes))]
    return len(known) > 0 and bool(np.abs(known).max() <= _UNIT_LIMIT) and bool((known % 1 != 0).any())


def scale_unit_boxes(table: FaceTable) -> FaceTable:
    """Pixels in place of parts of 1, as some tools write boxes, where all boxes are such parts.

    Raises:
        LabelFormatError: they are, and the size of an image with faces is not known.
    """
    if not has_unit_boxes(table):
        return table
    sizes = np.repeat(table.image_sizes, table.num_faces, axis=0)[:, ::-1].astype(np.float32)  # (N, 2) width, height
    if (sizes == 0).any():
        place = table.place(int(np.flatnonzero((sizes == 0).any(axis=1))[0]))
        raise LabelFormatError(
            f"{place}: the boxes are parts of the image's width and height, which are not known; "
            "name the folder of the images with --images"
        )
    example = tuple(table.place(face) for face in range(min(len(sizes), 1)))
    finding = Finding("boxes in parts of 1, scaled by the size of their image", "chosen", len(sizes), example)
    return replace(
        table,
        boxes=table.boxes * np.tile(sizes, 2),
        landmarks=table.landmarks * sizes[:, None],
        findings=(*table.findings, finding),
    )


def _check_boxes(table: FaceTable, is_lost: BoolArray, note: Note) -> tuple[Float64Array, BoolArray]:
    """Ordered and clipped boxes, and which of them have no area."""
    boxes = np.where(is_lost[:, None], 0.0, table.boxes).astype(np.float64)
    is_turned = _any(boxes[:, 2:] < boxes[:, :2])
    boxes = np.concatenate((np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])), axis=1)
    negative = is_turned if not table.boxes_are_corners else np.zeros_like(is_turned)
    if table.boxes_are_corners:
        note("corners of the box in the wrong order, sorted", "corrected", is_turned)
    note("box of negative width or height, ignored", "ignored", negative & ~table.ignore)
    empty = _any(boxes[:, 2:] <= boxes[:, :2]) & ~is_lost
    note("box without area, ignored", "ignored", empty & ~table.ignore)

    sizes = np.repeat(table.image_sizes, table.num_faces, axis=0)  # (N, 2)
    limits = np.where(sizes > 0, sizes, np.inf)[:, [1, 0, 1, 0]]  # (N, 4)
    clipped = np.clip(boxes, 0, limits)
    outside = _any(clipped[:, 2:] <= clipped[:, :2]) & ~empty & ~is_lost
    over = _any(np.abs(clipped - boxes) > BORDER_TOLERANCE) & ~outside
    note("box over the border of the image, clipped", "corrected", over)
    note("box outside the image, clipped and ignored", "ignored", outside & ~negative & ~table.ignore)
    return clipped, empty | outside | negative


def _check_landmarks(
    table: FaceTable, boxes: Float64Array, note: Note
) -> tuple[FloatArray, BoolArray, Mapping[str, FloatArray]]:
    """Landmarks with NaN where they are missing or not this face's, which of them are known, and the attributes."""
    index = np.flatnonzero(_any(table.has_landmarks))  # M faces; most have none at all
    points, corners = table.landmarks[index].astype(np.float64), boxes[index]
    has = table.has_landmarks[index] & ~_all(points == -1)
    finite = _all(np.abs(points) <= MAX_COORDINATE)
    no_number = _any(has & ~finite)
    has &= finite
    margin = LANDMARK_MARGIN * (corners[:, 2:] - corners[:, :2]).max(axis=1, initial=1)[:, None]
    far = (points < (corners[:, :2] - margin)[:, None]) | (points > (corners[:, 2:] + margin)[:, None])
    too_far = has & _any(far)
    has &= ~too_far

    def note_some(reason: str, action: Action, faces: BoolArray) -> None:
        """Counts the faces of a mask (M,)."""
        note(reason, action, _spread(faces, index, len(boxes)))

    note_some("landmark that is no finite number, taken as missing", "corrected", no_number)
    note_some("landmark far outside the box, taken as missing", "corrected", _any(too_far))
    points = np.where(has[:, :, None], points, np.nan)
    attributes, turn = table.attributes, _turn(corners, points)
    is_mirrored, num_clear = turn < -_CLEAR_TURN, int(np.count_nonzero(np.abs(turn) > _CLEAR_TURN))
    has_votes = not table.is_order_known and num_clear >= _MIN_VOTES
    if has_votes and np.count_nonzero(is_mirrored) > _MIN_MIRRORED_PART * num_clear:
        note_some("eyes and mouth corners named from the person's view, swapped", "corrected", _any(has))
        order = list(LANDMARK_MIRROR_ORDER)
        points, has, attributes = points[:, order], has[:, order], _mirror_occlusion(attributes)
    else:
        note_some("eyes and mouth corners right to left, kept", "kept", is_mirrored)
    return _spread(points, index, len(boxes), np.nan), _spread(has, index, len(boxes)), attributes


def _spread(values: Any, index: IntArray, length: int, fill: float = 0) -> Any:
    """(length, ...) the values at the index, `fill` elsewhere."""
    result = np.full((length, *values.shape[1:]), fill, values.dtype)
    result[index] = values
    return result


def _mirror_occlusion(attributes: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
    """The attributes, with the bits of occluded landmarks in the order of mirrored faces."""
    occlusion = attributes.get(OCCLUDED_LANDMARKS)
    if occlusion is None:
        return attributes
    mirrored = read_occlusion(occlusion)[:, list(LANDMARK_MIRROR_ORDER)] @ OCCLUSION_BITS
    return {**attributes, OCCLUDED_LANDMARKS: np.where(np.isfinite(occlusion), mirrored, np.nan).astype(np.float32)}


def _turn(boxes: Float64Array, landmarks: Float64Array) -> Float64Array:
    """(N,) how clearly the eyes and the mouth corners run from the face's image-left to its image-right.

    Above 0 they do, whatever the rotation of the face in the image; below 0 the face is mirrored; 0 where a point is
    missing or eyes and mouth disagree. The value is the smaller of two cross products over the area of the box.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = np.moveaxis(landmarks, 1, 0)
    down = (left_mouth + right_mouth - left_eye - right_eye) / 2
    area = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1)
    eyes, mouth = right_eye - left_eye, right_mouth - left_mouth
    turns = np.stack([(side[:, 0] * down[:, 1] - side[:, 1] * down[:, 0]) / area for side in (eyes, mouth)])
    agree = np.isfinite(turns).all(axis=0) & (np.sign(turns[0]) == np.sign(turns[1]))
    smaller = np.where(np.abs(turns[0]) < np.abs(turns[1]), turns[0], turns[1])
    return np.where(agree, smaller, 0.0)


def _all(values: BoolArray) -> BoolArray:
    """Whether all values along the last axis are true."""
    result: BoolArray = np.logical_and.reduce(values, axis=-1)
    return result


def _any(values: BoolArray) -> BoolArray:
    """Whether any value along the last axis is true."""
    result: BoolArray = np.logical_or.reduce(values, axis=-1)
    return result
