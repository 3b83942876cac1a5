"""Images that a source names more than once: their faces are joined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats.findings import FindingCounter
from retinaface_cli.formats.flat_labels import flatten_labels
from retinaface_cli.formats.label_set import Finding


def join_repeated(images: Sequence[ImageLabels], place: str) -> tuple[tuple[ImageLabels, ...], tuple[Finding, ...]]:
    """Gives each image one entry; a repetition with the very same faces adds nothing.

    Args:
        images: images, of which some may have the same name.
        place: the source, for the findings.
    """
    if len({image.file_name for image in images}) == len(images):
        return tuple(images), ()
    counter = FindingCounter()
    joined: dict[str, ImageLabels] = {}
    for image in images:
        first = joined.get(image.file_name)
        if first is None:
            joined[image.file_name] = image
        elif _are_same(first.faces, image.faces):
            counter.add("image named again with the same faces, left out", "dropped", f"{place}: {image.file_name}")
        else:
            faces = flatten_labels((first, image)).faces
            joined[image.file_name] = ImageLabels(image.file_name, faces, first.width, first.height)
            counter.add("image named again with other faces, joined", "mended", f"{place}: {image.file_name}")
    return tuple(joined.values()), counter.findings


def _are_same(first: FaceLabels, second: FaceLabels) -> bool:
    """Whether two images have equal boxes and landmarks, in the same order."""
    return np.array_equal(first.boxes, second.boxes) and np.array_equal(
        first.landmarks, second.landmarks, equal_nan=True
    )
