"""Faces of many images in a few flat arrays, as a reader takes them from a source and before they are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retinaface_cli.faces import NUM_LANDMARKS
from retinaface_cli.formats.label_set import Finding

Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

OCCLUDED_LANDMARKS = "occluded_landmarks"
"""Attribute: the sum of 1, 2, 4, 8, 16 for an occluded left eye, right eye, nose, left and right mouth corner."""

OCCLUSION_BITS = 2 ** np.arange(NUM_LANDMARKS)
"""What each occluded point adds to the attribute, in the order of LANDMARK_NAMES."""


@dataclass(frozen=True, eq=False)
class FaceTable:
    """P images and their N faces; the faces of an image stand together, in the order of the images.

    Attributes:
        format_name: a key of READERS.
        file_names: P names of images, relative to the image root, forward slashes.
        num_faces: (P,) faces of each image.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels, whatever the source said.
        landmarks: (N, 5, 2) in pixels; what stands where has_landmarks is False does not matter.
        has_landmarks: (N, 5).
        ignore: (N,) the source's own mark: invalid, crowd, difficult.
        attributes: name -> (N,), NaN where unknown.
        image_sizes: (P, 2) height and width in pixels, 0 where the source does not say.
        sources: P label files, for the places in findings.
        lines: (N,) line of each face in its label file, from 1; 0 where the format has no lines.
        boxes_are_corners: whether the source holds two corners, which may come in any order, or a corner and a size.
        is_order_known: whether the format fixes which eye comes first; else the faces are looked at.
        image_root: folder of the images, where the format fixes it and it exists.
        findings: what the reader left out, with the reason.
        label_files: see LabelSet.
    """

    format_name: str
    file_names: Sequence[str]
    num_faces: IntArray
    boxes: Float64Array
    landmarks: Float64Array
    has_landmarks: npt.NDArray[np.bool_]
    ignore: npt.NDArray[np.bool_]
    image_sizes: IntArray
    sources: Sequence[Path]
    lines: IntArray
    attributes: Mapping[str, Float64Array] = field(default_factory=dict)
    boxes_are_corners: bool = True
    is_order_known: bool = True
    image_root: Path | None = None
    findings: tuple[Finding, ...] = ()
    label_files: tuple[Path, ...] = ()

    @property
    def starts(self) -> IntArray:
        """(P,) index of the first face of each image."""
        return np.cumsum(self.num_faces) - self.num_faces

    @property
    def image_index(self) -> IntArray:
        """(N,) image of each face."""
        return np.repeat(np.arange(len(self.file_names)), self.num_faces)

    def place(self, face: int) -> str:
        """Where a face stands: `file:line`, or the file, the image and the number of the face in it."""
        image = int(np.searchsorted(np.cumsum(self.num_faces), face, side="right"))
        if self.lines[face]:
            return f"{self.sources[image]}:{self.lines[face]}"
        return f"{self.sources[image]}: {self.file_names[image]}, face {face - self.starts[image] + 1}"


def no_landmarks(num_faces: int) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """Landmarks and has_landmarks of faces that have none."""
    return np.full((num_faces, NUM_LANDMARKS, 2), np.nan), np.zeros((num_faces, NUM_LANDMARKS), np.bool_)


def no_sizes(num_images: int) -> IntArray:
    """Image sizes of images whose sizes the source does not say."""
    return np.zeros((num_images, 2), np.intp)


def read_occlusion(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """(N, 5) which landmarks are occluded, from (N,) values of the attribute; none where it is no such sum."""
    known = np.where((values >= 0) & (values < 2**NUM_LANDMARKS), values, 0).astype(np.intp)
    result: npt.NDArray[np.bool_] = np.not_equal(known[:, None] & OCCLUSION_BITS, 0)
    return result
