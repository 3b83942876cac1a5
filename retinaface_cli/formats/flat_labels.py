"""The faces of many images joined into flat arrays, for writers and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retinaface_cli.faces import FaceLabels, FloatArray, ImageLabels
from retinaface_cli.formats.face_table import IntArray


@dataclass(frozen=True, eq=False)
class FlatLabels:
    """P images and their N faces.

    Attributes:
        images: the P images.
        num_faces: (P,) faces of each image.
        faces: all N faces, in the order of the images; attributes are NaN for faces that have none.
    """

    images: Sequence[ImageLabels]
    num_faces: IntArray
    faces: FaceLabels

    @property
    def ends(self) -> IntArray:
        """(P,) index behind the last face of each image."""
        return np.cumsum(self.num_faces)


def flatten_labels(images: Sequence[ImageLabels]) -> FlatLabels:
    """Joins the faces of all images."""
    parts = [image.faces for image in images]
    num_faces = np.array([len(part) for part in parts], np.intp)
    if not parts:
        return FlatLabels(images, num_faces, FaceLabels.empty())
    names = list(dict.fromkeys(name for part in parts for name in part.attributes))
    faces = FaceLabels(
        boxes=np.concatenate([part.boxes for part in parts]),
        landmarks=np.concatenate([part.landmarks for part in parts]),
        has_landmarks=np.concatenate([part.has_landmarks for part in parts]),
        ignore=np.concatenate([part.ignore for part in parts]),
        attributes={name: np.concatenate([_attribute(part, name) for part in parts]) for name in names},
    )
    return FlatLabels(images, num_faces, faces)


def _attribute(faces: FaceLabels, name: str) -> FloatArray:
    """One attribute of an image's faces, NaN if the image does not have it."""
    values = faces.attributes.get(name)
    return np.full(len(faces), np.nan, np.float32) if values is None else values
