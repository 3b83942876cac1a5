"""The same scores for parts of the data: faces by height, by attribute, and images by event."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from retinaface_cli.evaluation.average_precision import precision_recall
from retinaface_cli.evaluation.landmarks import LandmarkErrors
from retinaface_cli.evaluation.matching import FaceMatches, Indices
from retinaface_cli.faces import BoolArray, FloatArray

HEIGHT_LIMITS = (16, 32, 64, 128)
"""Heights in pixels of the original image that part the buckets."""

ATTRIBUTE_VALUES: Mapping[str, tuple[str, ...]] = {
    "blur": ("clear", "normal", "heavy"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "occluded_landmarks": ("none", "some", "all"),
}
"""What the numbers of WIDER FACE's attributes mean; occluded_landmarks, a sum of bits, is reduced to these."""

_ALL_OCCLUDED = 31

_MAX_VALUES = 10
"""Attributes with more different values than this are measurements, which have no groups."""


@dataclass(frozen=True)
class GroupResult:
    """Result on a part of the faces, the other faces being ignored.

    Attributes:
        kind: what parts the groups: height, event, or the name of an attribute.
        name: of the group.
        num_faces: faces that count.
        recall: share of them that are found at the lowest score.
        ap50: average precision at an IoU of .5. A detection without a face is false in the bucket of its own
            height, in its own event, and for every value of an attribute.
        nme_box: mean landmark error as a part of the box size; None where there are no landmarks.
    """

    kind: str
    name: str
    num_faces: int
    recall: float
    ap50: float
    nme_box: float | None


@dataclass(frozen=True, eq=False)
class FaceGroup:
    """A part of the faces.

    Attributes:
        kind: what parts the groups.
        name: of the group.
        faces: (F,) whether a face belongs to it.
        among: indices of the detections that are judged, by falling score; None: all.
    """

    kind: str
    name: str
    faces: BoolArray
    among: Indices | None = None


def evaluate_groups(matches: FaceMatches, errors: LandmarkErrors | None = None) -> tuple[GroupResult, ...]:
    """Results by height, attribute and event, for groups that hold a face that counts.

    Args:
        matches: the detections of the data set at an IoU of .5.
        errors: of the landmarks of the same detections, where the labels have some.
    """
    groups = [*height_groups(matches), *attribute_groups(matches), *event_groups(matches)]
    results = (_score(matches, group, errors) for group in groups)
    return tuple(result for result in results if result.num_faces)


def height_groups(matches: FaceMatches) -> list[FaceGroup]:
    """The buckets of height; a limit belongs to the taller bucket."""
    buckets = np.digitize(_heights(matches.faces.boxes), HEIGHT_LIMITS)
    own_buckets = np.digitize(_heights(matches.detections.boxes), HEIGHT_LIMITS)
    limits = [str(limit) for limit in HEIGHT_LIMITS]
    names = [f"< {limits[0]} px", *(f"{a}-{b} px" for a, b in itertools.pairwise(limits)), f">= {limits[-1]} px"]
    own_buckets = np.where(matches.matched >= 0, -1, own_buckets)[matches.falling]  # what is matched may count in all
    return [
        FaceGroup("height", name, buckets == index, matches.falling[(own_buckets == -1) | (own_buckets == index)])
        for index, name in enumerate(names)
    ]


def attribute_groups(matches: FaceMatches) -> list[FaceGroup]:
    """A group for each value of each attribute that has several values, but not many."""
    groups: list[FaceGroup] = []
    for attribute, given in matches.faces.attributes.items():
        values = given
        if attribute == "occluded_landmarks":
            values = np.where(given > 0, np.where(given == _ALL_OCCLUDED, 2, 1), given).astype(np.float32)
        counted = values[np.isfinite(values) & ~matches.faces.ignore]
        distinct = np.unique(counted).tolist()
        if not 2 <= len(distinct) <= _MAX_VALUES:
            continue
        groups += [FaceGroup(attribute, _value_name(attribute, value), values == value) for value in distinct]
    return groups


def event_groups(matches: FaceMatches) -> list[FaceGroup]:
    """A group for each event (first folder of the image's name); none where there are fewer than two."""
    events = [name.rpartition("/")[0].partition("/")[0] for name in matches.file_names]
    names = sorted(set(events), key=_natural)
    if len(names) < 2:
        return []
    number = {name: index for index, name in enumerate(names)}
    event = np.array([number[name] for name in events])
    of_faces, of_detections = event[matches.face_images], event[matches.detection_images[matches.falling]]
    by_event = np.argsort(of_detections, kind="stable")
    parts = np.split(matches.falling[by_event], np.cumsum(np.bincount(of_detections, minlength=len(names)))[:-1])
    return [
        FaceGroup("event", name or ".", of_faces == index, among)
        for index, (name, among) in enumerate(zip(names, parts, strict=True))
    ]


def _score(matches: FaceMatches, group: FaceGroup, errors: LandmarkErrors | None) -> GroupResult:
    """Result on one group."""
    counted = group.faces & ~matches.faces.ignore
    curve = precision_recall(matches, counted, among=group.among)
    nme_box = None
    if errors is not None:
        own = errors.face_errors()[counted[errors.faces]]
        own = own[np.isfinite(own)]
        nme_box = float(own.mean()) if len(own) else None
    return GroupResult(
        kind=group.kind,
        name=group.name,
        num_faces=int(counted.sum()),
        recall=curve.final_recall,
        ap50=curve.average_precision,
        nme_box=nme_box,
    )


def _heights(boxes: FloatArray) -> FloatArray:
    return boxes[:, 3] - boxes[:, 1]


def _value_name(attribute: str, value: float) -> str:
    names = ATTRIBUTE_VALUES.get(attribute, ())
    return names[int(value)] if value == int(value) and 0 <= value < len(names) else f"{value:g}"


def _natural(name: str) -> tuple[int, str]:
    """Sorts 2--Demonstration before 10--People_Marching."""
    number = name.partition("--")[0]
    return (int(number) if number.isdecimal() else 1 << 30, name)
