"""Names that label files give to classes and points: which class is a face, which point is which landmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_NAMES

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LEFT, _RIGHT = frozenset(("left", "l")), frozenset(("right", "r"))
_EYE, _NOSE = frozenset(("eye", "pupil", "eyecenter")), frozenset(("nose", "nosetip"))
_MOUTH = frozenset(("mouth", "lip", "mouthcorner"))
_JOINED = {f"{side}{part}": (side, part) for side in ("left", "right") for part in ("eye", "mouth")}


def choose_face_classes(names: Sequence[str], wanted: Sequence[str], place: str) -> frozenset[str]:
    """The names of classes that are faces.

    A single class is taken for faces whatever it is called; of several, those that have `face` in their name.

    Args:
        names: all classes of the source.
        wanted: those that the user named; empty: find out.
        place: for the error.

    Raises:
        LabelFormatError: the user named a class that is not there, or none of several is called face.
    """
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise LabelFormatError(f"{place}: no class {unknown[0]!r}; there are {', '.join(names) or 'none'}")
    if wanted:
        return frozenset(wanted)
    if len(set(names)) <= 1:
        return frozenset(names)
    found = frozenset(name for name in names if "face" in name.lower())
    if not found:
        raise LabelFormatError(
            f"{place}: expected a class called face, got {', '.join(names[:10])}; say with --class which are faces"
        )
    return found


def landmark_index(name: str) -> int | None:
    """Position in LANDMARK_NAMES of a point by its name (`left_eye`, `eyeLeft`, `mouth-r`, `nose tip`, ...)."""
    words = [word.lower() for word in _WORD.findall(name)]
    words = [part for word in words for part in _JOINED.get(word, (word,))]
    found = set(words)
    if found & _NOSE:
        return LANDMARK_NAMES.index("nose")
    side = "left" if found & _LEFT else "right" if found & _RIGHT else ""
    part = "eye" if found & _EYE else "mouth" if found & _MOUTH else ""
    return LANDMARK_NAMES.index(f"{side}_{part}") if side and part else None


def landmark_positions(names: Sequence[str]) -> Mapping[int, int]:
    """Landmark -> position among the points of a source, by their names; a name that comes twice counts for none."""
    found = [landmark_index(name) for name in names]
    return {landmark: found.index(landmark) for landmark in range(len(LANDMARK_NAMES)) if found.count(landmark) == 1}
