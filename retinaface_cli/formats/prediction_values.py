"""Faces in prediction files: numbers to arrays with every value checked, and arrays to short decimal numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import NUM_LANDMARKS, FaceDetections

NUM_DECIMALS = 3
"""Decimals of coordinates in files, in pixels: far below what a detector can mean."""

_SCORE_SLACK = 1e-6
"""A score may pass 1 (or 0) by this, as rounding does, and is then clipped."""

FloatValues = npt.NDArray[np.float64]


def decimal_faces(faces: FaceDetections) -> tuple[list[list[float]], list[float], list[list[list[float]]]]:
    """Boxes (x_min, y_min, x_max, y_max), scores and landmarks as Python numbers that print short.

    Coordinates are rounded to three decimals; scores print as the shortest decimal with the same float32. Missing
    landmarks are -1, -1; a face with none at all has an empty list.
    """
    boxes = np.round(faces.boxes.astype(np.float64), NUM_DECIMALS).tolist()
    scores = [float(text) for text in faces.scores.astype(np.str_)]
    points = np.round(faces.landmarks.astype(np.float64), NUM_DECIMALS)
    missing = np.isnan(points[..., 0]) | np.isnan(points[..., 1])  # (N, 5)
    points[missing] = -1
    num_missing = np.count_nonzero(missing, axis=1)
    landmarks = [
        [] if count == NUM_LANDMARKS else value
        for value, count in zip(points.tolist(), num_missing.tolist(), strict=True)
    ]
    return boxes, scores, landmarks


def faces_from_annotations(annotations: Sequence[Any], place: str) -> FaceDetections:
    """Annotations with `bbox` (x_min, y_min, x_max, y_max), `score` and, where known, `landmarks` (5 pairs).

    The old library's sign of an image without faces (an empty box with score -1) is no face.

    Raises:
        LabelFormatError: place, number of the face, what was found and wanted.
    """
    try:
        boxes = [face["bbox"] for face in annotations]
        scores = [face["score"] for face in annotations]
        landmarks = [face.get("landmarks") or () for face in annotations]
    except (KeyError, TypeError, AttributeError):
        raise LabelFormatError(_find_incomplete(annotations, place)) from None
    if any(box == [] for box in boxes):
        kept = [face for face in annotations if face["bbox"] != [] or face["score"] != -1]
        if len(kept) < len(annotations):
            return faces_from_annotations(kept, place)
    return build_faces(
        _table(boxes, 4, "bbox", place), _column(scores, "score", place), landmark_array(landmarks, place), place=place
    )


def faces_from_coco(entries: Sequence[tuple[str, Mapping[str, Any]]]) -> FaceDetections:
    """COCO results of one image, each with its place: `bbox` as x, y, width, height, and `keypoints` where known.

    Raises:
        LabelFormatError: place, what was found and wanted.
    """
    for place, face in entries:
        if "bbox" not in face or "score" not in face:
            raise LabelFormatError(f"{place}: expected bbox and score in a COCO result, got keys {', '.join(face)}")
    place = entries[0][0]
    boxes = _table([face["bbox"] for _, face in entries], 4, "bbox", place)
    boxes[:, 2:] += boxes[:, :2]
    points = [_without_flags(face.get("keypoints") or (), place) for place, face in entries]
    scores = _column([face["score"] for _, face in entries], "score", place)
    return build_faces(boxes, scores, landmark_array(points, place), place=place)


def build_faces(boxes: FloatValues, scores: FloatValues, landmarks: FloatValues, *, place: str) -> FaceDetections:
    """Checks values and makes detections with the highest score first; equal scores keep their order.

    Args:
        boxes: (N, 4) x_min, y_min, x_max, y_max.
        scores: (N,) in [0, 1].
        landmarks: (N, 5, 2), NaN where missing.
        place: start of the error message.

    Raises:
        LabelFormatError: a number that is not finite in 32 bits, or a score outside [0, 1].
    """
    with np.errstate(over="ignore"):
        short_boxes, short_landmarks = boxes.astype(np.float32), landmarks.astype(np.float32)
    if not np.isfinite(short_boxes.sum(dtype=np.float64) + scores.sum()) or np.isinf(short_landmarks).any():
        _refuse_infinite(boxes, scores, landmarks, place)
    if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
        scores = _clip_scores(scores, place)
    faces = FaceDetections(boxes=short_boxes, landmarks=short_landmarks, scores=scores.astype(np.float32))
    if (scores[1:] <= scores[:-1]).all():
        return faces
    return faces.select(np.argsort(-scores, kind="stable"))


def _refuse_infinite(boxes: FloatValues, scores: FloatValues, landmarks: FloatValues, place: str) -> None:
    """Raises LabelFormatError for the first face with a number that 32 bits cannot hold, NaN in landmarks excepted."""
    points = np.nan_to_num(landmarks.reshape(-1, 2 * NUM_LANDMARKS), nan=0, posinf=np.inf, neginf=-np.inf)
    values = np.column_stack([boxes, scores, points])
    index = int((~(np.abs(values) <= np.finfo(np.float32).max)).any(axis=1).argmax())
    raise LabelFormatError(
        f"{place}: face {index + 1}: a number is not finite, or too large, in box, score or landmarks: "
        f"{values[index].tolist()}"
    )


def _clip_scores(scores: FloatValues, place: str) -> FloatValues:
    """Scores within [0, 1], after refusing those that are further outside than rounding explains."""
    outside = (scores < -_SCORE_SLACK) | (scores > 1 + _SCORE_SLACK)
    if outside.any():
        index = int(outside.argmax())
        raise LabelFormatError(
            f"{place}: face {index + 1}: score {scores[index]:g} is outside [0, 1]; "
            "divide percentages by 100, put logits through a sigmoid"
        )
    return np.clip(scores, 0, 1)


def landmark_array(values: Sequence[Any], place: str) -> FloatValues:
    """(N, 5, 2) points from five pairs or ten numbers a face; NaN for an empty entry and for points at -1, -1.

    Raises:
        LabelFormatError: place and number of the face that has another count, or holds something else.
    """
    result = np.full((len(values), NUM_LANDMARKS, 2), np.nan)
    known = [index for index, value in enumerate(values) if len(value)]
    if not known:
        return result
    try:
        points = np.array([values[index] for index in known], np.float64).reshape(len(known), NUM_LANDMARKS, 2)
    except (TypeError, ValueError):
        points = np.array([_points(values[index], f"{place}: face {index + 1}") for index in known], np.float64)
    result[known] = mark_missing(points.reshape(-1, NUM_LANDMARKS, 2))
    return result


def mark_missing(points: FloatValues) -> FloatValues:
    """(N, 5, 2) points with NaN in place of those at -1, -1."""
    if points.size == 0 or (points.min() > -1 and np.isfinite(points.max())):
        return points  # most images; the comparisons are false where a point is no number
    x, y = points[..., 0], points[..., 1]
    is_missing = ((x == -1) & (y == -1)) | ~np.isfinite(x + y)
    return np.where(is_missing[..., None], np.nan, points)


def relative_name(name: object, place: str) -> str:
    """A file name with forward slashes and without a leading `./`.

    Raises:
        LabelFormatError: it is no text, or empty.
    """
    if not isinstance(name, str) or not name.strip():
        raise LabelFormatError(f"{place}: expected a file name, got {name!r}")
    return name.replace("\\", "/").removeprefix("./")


def sized(entry: Mapping[str, Any], place: str) -> tuple[int | None, int | None]:
    """Width and height of an image where the entry has both.

    Raises:
        LabelFormatError: they are no positive whole numbers.
    """
    width, height = entry.get("width"), entry.get("height")
    if width is None or height is None:
        return None, None
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise LabelFormatError(f"{place}: expected width and height in pixels, got {width!r} and {height!r}")
    return width, height


def _table(rows: Sequence[Any], num_columns: int, key: str, place: str) -> FloatValues:
    """(N, num_columns) numbers from lists."""
    try:
        table = np.array(rows, np.float64).reshape(len(rows), -1) if rows else np.zeros((0, num_columns))
    except (TypeError, ValueError):
        table = np.zeros((0, 0))
    if table.shape == (len(rows), num_columns):
        return table
    for index, row in enumerate(rows):
        if not _is_numbers(row, num_columns):
            raise LabelFormatError(f"{place}: face {index + 1}: expected {num_columns} numbers in {key}, got {row!r}")
    raise LabelFormatError(f"{place}: expected {num_columns} numbers in every {key}")


def _column(values: Sequence[Any], key: str, place: str) -> FloatValues:
    """(N,) numbers."""
    return _table([[value] for value in values], 1, key, place)[:, 0]


def _is_numbers(row: object, count: int) -> bool:
    """Whether the value is a list of so many plain numbers."""
    return isinstance(row, list) and len(row) == count and all(isinstance(value, int | float) for value in row)


def _points(value: object, where: str) -> FloatValues:
    """(5, 2) points of one face."""
    try:
        return np.array(value, np.float64).reshape(NUM_LANDMARKS, 2)
    except (TypeError, ValueError):
        raise LabelFormatError(f"{where}: expected 5 pairs of numbers in landmarks, got {str(value)[:60]}") from None


def _without_flags(keypoints: Sequence[float], place: str) -> Sequence[Any]:
    """Five pairs from the flat x, y, visibility of COCO; visibility 0 means missing."""
    if len(keypoints) == 0:
        return ()
    try:
        table = np.array(keypoints, np.float64).reshape(NUM_LANDMARKS, 3)
    except (TypeError, ValueError):
        raise LabelFormatError(f"{place}: expected 15 numbers in keypoints, got {str(keypoints)[:60]}") from None
    return [(-1.0, -1.0) if flag == 0 else (x, y) for x, y, flag in table.tolist()]


def _find_incomplete(annotations: Sequence[Any], place: str) -> str:
    """The message for the first annotation that is no face with box and score."""
    for index, face in enumerate(annotations):
        if not isinstance(face, dict):
            return f"{place}: face {index + 1}: expected an object with bbox and score, got {str(face)[:60]}"
        if "score" not in face and "bbox" in face:
            return f"{place}: face {index + 1}: has no score; labels cannot stand for predictions"
        if "bbox" not in face:
            return f"{place}: face {index + 1}: has no bbox"
    return f"{place}: expected faces with bbox and score"
