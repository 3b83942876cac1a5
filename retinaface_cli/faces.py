"""The types that flow between the parts: faces as labelled, faces as detected, and the images they belong to.

All coordinates are continuous pixels in float32 (width = x2 - x1), in the frame that the holder of the object states;
in files that is always the original image after EXIF rotation. No faces means arrays of length 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]

RgbImage = npt.NDArray[np.uint8]
"""(H, W, 3), red first."""

NUM_LANDMARKS = 5

LANDMARK_NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""Names of the five landmarks; left and right are those of the image, for an upright face."""

LANDMARK_MIRROR_ORDER = (1, 0, 2, 4, 3)
"""Position i of a mirrored face takes the point at LANDMARK_MIRROR_ORDER[i]: eyes swap, mouth corners swap."""


def frozen_array(array: npt.ArrayLike, dtype: npt.DTypeLike, shape: tuple[int, ...], name: str) -> npt.NDArray[Any]:
    """Returns a read-only view of the array in the given type, after checking its shape (-1 matches any length)."""
    result: npt.NDArray[Any] = np.asarray(array, dtype=dtype)
    if result.size == 0 and result.ndim != len(shape):
        result = result.reshape(tuple(max(size, 0) for size in shape))
    if result.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, result.shape, strict=True)):
        raise ValueError(f"{name}: expected shape {shape}, got {result.shape}")
    result = result.view()
    result.flags.writeable = False
    return result


@dataclass(frozen=True, eq=False)
class FaceLabels:
    """The true faces of one image.

    Attributes:
        boxes: (N, 4) x_min, y_min, x_max, y_max.
        landmarks: (N, 5, 2) x, y in the order of LANDMARK_NAMES; NaN where missing.
        has_landmarks: (N, 5) whether each point is known.
        ignore: (N,) faces that are neither positive nor background (invalid, too small).
        attributes: name -> (N,) float32 values (blur, occlusion, pose, ...); NaN where unknown.
    """

    boxes: FloatArray
    landmarks: FloatArray
    has_landmarks: BoolArray
    ignore: BoolArray
    attributes: Mapping[str, FloatArray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.boxes)
        fields = {
            "boxes": frozen_array(self.boxes, np.float32, (-1, 4), "boxes"),
            "landmarks": frozen_array(self.landmarks, np.float32, (n, NUM_LANDMARKS, 2), "landmarks"),
            "has_landmarks": frozen_array(self.has_landmarks, np.bool_, (n, NUM_LANDMARKS), "has_landmarks"),
            "ignore": frozen_array(self.ignore, np.bool_, (n,), "ignore"),
            "attributes": {k: frozen_array(v, np.float32, (n,), k) for k, v in self.attributes.items()},
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_boxes(cls, boxes: npt.ArrayLike) -> FaceLabels:
        """Labels of (N, 4) boxes without landmarks, none ignored."""
        array = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        n = len(array)
        return cls(
            boxes=array,
            landmarks=np.full((n, NUM_LANDMARKS, 2), np.nan, np.float32),
            has_landmarks=np.zeros((n, NUM_LANDMARKS), np.bool_),
            ignore=np.zeros(n, np.bool_),
        )

    @classmethod
    def empty(cls) -> FaceLabels:
        """Labels of an image without faces."""
        return cls.from_boxes(())

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> FaceLabels:
        """The faces picked by a boolean mask or by indices."""
        return FaceLabels(
            boxes=self.boxes[index],
            landmarks=self.landmarks[index],
            has_landmarks=self.has_landmarks[index],
            ignore=self.ignore[index],
            attributes={name: values[index] for name, values in self.attributes.items()},
        )

    def split(self, counts: Sequence[int]) -> list[FaceLabels]:
        """Cuts the faces into runs of so many each, which share memory with these; the counts add up to all faces."""
        runs = []
        end = 0
        for count in counts:
            start, end = end, end + count
            run = object.__new__(FaceLabels)  # slices of arrays that were checked need no check
            for name in ("boxes", "landmarks", "has_landmarks", "ignore"):
                object.__setattr__(run, name, getattr(self, name)[start:end])
            object.__setattr__(run, "attributes", {name: values[start:end] for name, values in self.attributes.items()})
            runs.append(run)
        return runs


@dataclass(frozen=True, eq=False)
class FaceDetections:
    """The faces that a detector found in one image, highest score first.

    Attributes:
        boxes: (N, 4) x_min, y_min, x_max, y_max.
        landmarks: (N, 5, 2) x, y in the order of LANDMARK_NAMES; NaN where a source has none.
        scores: (N,) in [0, 1].
    """

    boxes: FloatArray
    landmarks: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        n = len(self.boxes)
        object.__setattr__(self, "boxes", frozen_array(self.boxes, np.float32, (-1, 4), "boxes"))
        object.__setattr__(
            self, "landmarks", frozen_array(self.landmarks, np.float32, (n, NUM_LANDMARKS, 2), "landmarks")
        )
        object.__setattr__(self, "scores", frozen_array(self.scores, np.float32, (n,), "scores"))

    @classmethod
    def empty(cls) -> FaceDetections:
        """The result for an image in which no face was found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros((0, NUM_LANDMARKS, 2), np.float32), np.zeros(0, np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence[FaceDetections]) -> FaceDetections:
        """The faces of several lists of one image, highest score first."""
        if not parts:
            return cls.empty()
        faces = cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.landmarks for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )
        return faces.select(np.argsort(-faces.scores, kind="stable"))

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp] | slice) -> FaceDetections:
        """The faces picked by a boolean mask or by indices."""
        return FaceDetections(self.boxes[index], self.landmarks[index], self.scores[index])


Faces = TypeVar("Faces", bound=FaceLabels | FaceDetections)


def map_points(faces: Faces, function: Callable[[FloatArray], FloatArray]) -> Faces:
    """The faces in another frame, to which a function takes points (..., 2); upright boxes must stay upright."""
    boxes = function(faces.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return replace(faces, boxes=boxes, landmarks=function(faces.landmarks))


@dataclass(frozen=True, eq=False)
class ImageFaces(Generic[Faces]):
    """One image's name and faces.

    Attributes:
        file_name: path relative to the root of the images, forward slashes.
        faces: in pixels of the original image.
        width: of the image in pixels; None where unknown.
        height: likewise.
    """

    file_name: str
    faces: Faces
    width: int | None = None
    height: int | None = None


ImageLabels = ImageFaces[FaceLabels]
ImageDetections = ImageFaces[FaceDetections]
