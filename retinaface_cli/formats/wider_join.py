"""Landmarks of one label file and attributes of another, joined face by face for the same images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retinaface_cli.formats.face_table import FaceTable, Float64Array, IntArray, no_sizes
from retinaface_cli.formats.label_set import MAX_EXAMPLES, Finding

_MAX_SHIFT = 1.5
"""Pixels by which the sides of a box may differ between two label files and still be the same face."""


def join_attributes(landmarks: FaceTable, official: FaceTable, official_path: Path) -> FaceTable:
    """Gives the faces of one table the attributes and marks of another.

    Images and faces that only the other table has are added, and counted as a finding.

    Args:
        landmarks: its faces, boxes and landmarks are kept.
        official: the same images, in any order.
        official_path: for the findings.
    """
    partner = _match(landmarks, official)
    known = partner >= 0
    attributes = dict(landmarks.attributes)
    for name, values in official.attributes.items():
        attributes[name] = np.where(known, values[np.maximum(partner, 0)] if len(values) else np.nan, np.nan)
    ignore = landmarks.ignore.copy()
    ignore[known] |= official.ignore[partner[known]]
    joined = dataclasses.replace(landmarks, format_name="wider", attributes=attributes, ignore=ignore)
    extra = np.setdiff1d(np.arange(len(official.boxes)), partner[known])
    return _add(joined, official, extra, official_path)


def _match(first: FaceTable, second: FaceTable) -> IntArray:
    """(N,) for each face of the first table the position of the same face in the second, -1 if it has none."""
    position = {name: i for i, name in enumerate(second.file_names)}
    partner = np.full(len(first.boxes), -1, np.intp)
    starts, other_starts = first.starts, second.starts
    for i, name in enumerate(first.file_names):
        j = position.get(name)
        if j is not None:
            faces = slice(starts[i], starts[i] + first.num_faces[i])
            others = slice(other_starts[j], other_starts[j] + second.num_faces[j])
            found = _match_boxes(first.boxes[faces], second.boxes[others])
            partner[faces] = np.where(found >= 0, found + other_starts[j], -1)
    return partner


def _match_boxes(boxes: Float64Array, others: Float64Array) -> IntArray:
    """(n,) the nearest of m other boxes, each taken once, -1 where none is near enough."""
    if boxes.shape == others.shape and np.array_equal(boxes, others):
        return np.arange(len(boxes))
    result = np.full(len(boxes), -1, np.intp)
    if not len(boxes) or not len(others):
        return result
    shifts = np.abs(boxes[:, None] - others[None]).max(axis=2)  # (n, m)
    taken: npt.NDArray[np.bool_] = np.zeros(len(others), np.bool_)
    for i, j in zip(*np.unravel_index(np.argsort(shifts, axis=None, kind="stable"), shifts.shape), strict=True):
        if not shifts[i, j] <= _MAX_SHIFT:
            break
        if result[i] < 0 and not taken[j]:
            result[i], taken[j] = j, True
    return result


def _add(table: FaceTable, other: FaceTable, extra: IntArray, other_path: Path) -> FaceTable:
    """Adds the faces of the other table at the positions `extra`, and the images that only it has."""
    known = set(table.file_names)
    new_names = [name for name in dict.fromkeys(other.file_names) if name not in known]
    names = [*table.file_names, *new_names]
    position = {name: i for i, name in enumerate(names)}
    image_of = np.array([position[name] for name in other.file_names], np.intp)
    images = np.concatenate([table.image_index, image_of[other.image_index[extra]]])
    order = np.argsort(images, kind="stable")
    missing = np.full(len(extra), np.nan)
    attributes = {
        name: np.concatenate([values, other.attributes[name][extra] if name in other.attributes else missing])[order]
        for name, values in table.attributes.items()
    }
    sizes = np.concatenate([table.image_sizes, no_sizes(len(new_names))])
    return dataclasses.replace(
        table,
        file_names=names,
        num_faces=np.bincount(images, minlength=len(names)).astype(np.intp),
        boxes=np.concatenate([table.boxes, other.boxes[extra]])[order],
        landmarks=np.concatenate([table.landmarks, other.landmarks[extra]])[order],
        has_landmarks=np.concatenate([table.has_landmarks, other.has_landmarks[extra]])[order],
        ignore=np.concatenate([table.ignore, other.ignore[extra]])[order],
        image_sizes=sizes,
        sources=[*table.sources, *[other_path] * len(new_names)],
        lines=np.concatenate([table.lines, np.zeros(len(extra), np.intp)])[order],
        attributes=attributes,
        findings=table.findings + _findings(other, extra, new_names),
    )


def _findings(other: FaceTable, extra: IntArray, new_names: list[str]) -> tuple[Finding, ...]:
    """What the other table had more."""
    added: list[Finding] = []
    if new_names:
        reason = "image of the official labels alone, added"
        added.append(Finding(reason, "kept", len(new_names), tuple(new_names[:MAX_EXAMPLES])))
    is_new = np.isin(np.array(other.file_names, np.object_), np.array(new_names, np.object_))
    faces = extra[~is_new[other.image_index[extra]]]
    if len(faces):
        places = tuple(other.place(face) for face in faces[:MAX_EXAMPLES].tolist())
        added.append(Finding("face of the official labels alone, added", "kept", len(faces), places))
    return tuple(added)
