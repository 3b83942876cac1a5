"""Names that label files give to classes and points: which class is a face, which point is which landmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_NAMES
from retinaface_cli.formats.reader import ReadingOptions, TableBuilder
from retinaface_cli.formats.text import shorten

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LEFT, _RIGHT = frozenset(("left", "l")), frozenset(("right", "r"))
_EYE, _NOSE = frozenset(("eye", "pupil", "eyecenter")), frozenset(("nose", "nosetip"))
_MOUTH = frozenset(("mouth", "lip", "mouthcorner"))
_JOINED = {f"{side}{part}": (side, part) for side in ("left", "right") for part in ("eye", "mouth")}

_NO_FACE = re.compile(r"^(no|non|not|without|un)(a|an)?[ _-]*(human)?[ _-]*faces?$|surface|interface|facepalm", re.I)
_FACE_CODES = frozenset(("/m/0dzct",))
"""What OpenImages calls a human face."""

_OTHER_OBJECTS = re.compile(
    "(full|upper|half)?(person|people|pedestrian|human|m[ae]n|wom[ae]n|boy|girl|child|kid|body|bodies|head|headshot|hand|"
    "foot|feet|torso|bicycle|bike|car|motorcycle|motorbike|airplane|aeroplane|plane|bus|train|truck|boat|van|vehicle|"
    "bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|animal|bottle|chair|sofa|couch|table|diningtable|plant|"
    "pottedplant|tv|tvmonitor|object|background|(license|number)?plate|helmet|mask|hat|glasses|eye|nose|mouth|ear)(e?s)?"
)
"""Classes that are no faces even where they are the only one."""


def choose_face_classes(
    names: Sequence[str], options: ReadingOptions, place: str, builder: TableBuilder | None = None
) -> frozenset[str]:
    """The names of classes that are faces; a builder is told where that was a guess.

    Of several, those that have `face` in their name, but for `no_face` and the like; a single class of any other name
    is taken for faces, too, unless it is called like something else (person, head, car).

    Args:
        names: all classes of the source.
        options: with the classes that the user named.
        place: for the error.
        builder: notes the classes taken.

    Raises:
        LabelFormatError: the user named a class that the source does not have, or none is a face by its name.
    """
    found = list(dict.fromkeys(names))
    listed = ", ".join(shorten(name)[1:-1] for name in found[:10]) or "none"
    unknown = [name for name in options.classes if name not in found]
    if unknown:
        raise LabelFormatError(f"{place}: no class {shorten(unknown[0])}; its classes are {listed}")
    if options.classes or not found:
        return frozenset(options.classes)
    faces = [name for name in found if _is_face(name)]
    if not faces and len(found) == 1 and not _is_other(found[0]):
        faces = found
    if not faces:
        raise LabelFormatError(f"{place}: expected a class called face, got {listed}; say with --class which are faces")
    if builder is not None and (len(found) > 1 or _plain(faces[0]) not in ("face", "faces")):
        taken = ", ".join(shorten(name) for name in faces[:5])
        builder.note(f"class taken for faces: {taken}, of {listed}; --class names others", "chosen", place)
    return frozenset(faces)


def as_class_name(value: object) -> str:
    """The name of a class, whatever stands in its place."""
    return value if isinstance(value, str) else shorten(value)


def _is_face(name: str) -> bool:
    return name in _FACE_CODES or ("face" in name.lower() and not _NO_FACE.search(name))


def _is_other(name: str) -> bool:
    return bool(_NO_FACE.search(name)) or _OTHER_OBJECTS.fullmatch(_plain(name)) is not None


def _plain(name: str) -> str:
    """Lower case, letters only."""
    return re.sub(r"[^a-z]", "", name.lower())


def landmark_index(name: str) -> int | None:
    """Position in LANDMARK_NAMES of a point by its name (`left_eye`, `eyeLeft`, `mouth-r`, `nose tip`, ...)."""
    words = [word.lower() for word in _WORD.findall(name[:100])]
    found = {part for word in words for part in _JOINED.get(word, (word,))}
    if found & _NOSE:
        return LANDMARK_NAMES.index("nose")
    side = "left" if found & _LEFT else "right" if found & _RIGHT else ""
    part = "eye" if found & _EYE else "mouth" if found & _MOUTH else ""
    return LANDMARK_NAMES.index(f"{side}_{part}") if side and part else None


def landmark_positions(names: Sequence[str]) -> Mapping[int, int]:
    """Landmark -> position among the points of a source, by their names; a name that comes twice counts for none."""
    found = [landmark_index(name) for name in names]
    return {landmark: found.index(landmark) for landmark in range(len(LANDMARK_NAMES)) if found.count(landmark) == 1}
