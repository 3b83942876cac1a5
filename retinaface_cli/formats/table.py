"""The faces of many images in one table of flat arrays, and what was found wrong in the file that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import shown
from retinaface_cli.faces import (
    NUM_LANDMARKS,
    BoolArray,
    FaceDetections,
    FaceLabels,
    Faces,
    FloatArray,
    ImageDetections,
    ImageFaces,
    ImageLabels,
    IntArray,
    frozen_array,
)

Float64Array = npt.NDArray[np.float64]

OCCLUDED_LANDMARKS = "occluded_landmarks"
"""Attribute: the sum of 1, 2, 4, 8, 16 for an occluded left eye, right eye, nose, left and right mouth corner."""

OCCLUSION_BITS = 2 ** np.arange(NUM_LANDMARKS)
"""What each occluded point adds to the attribute, in the order of LANDMARK_NAMES."""

MAX_EXAMPLES = 3
"""Places that a finding names; the others are only counted."""

MAX_SHOWN = 2000
"""Characters of a finding that are printed."""

Action = Literal["corrected", "ignored", "dropped", "kept", "requested", "chosen"]
"""What was done: the value was put right; the face stays but is marked `ignore`; it is gone; it stays as it is; no
fault, but what the caller asked for (a smallest size); or no fault, but a guess that the caller should see."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault in a label or prediction file, with the number of times that it was met.

    Attributes:
        reason: what is wrong and what was done about it, e.g. "box over the border of the image, clipped".
        action: what was done, in one word.
        count: number of faces (or images, or landmarks: the reason says which).
        examples: the first few places, `file:line` where the format has lines.
    """

    reason: str
    action: Action
    count: int
    examples: tuple[str, ...]

    @property
    def is_fault(self) -> bool:
        """Whether the source is at fault."""
        return self.action not in ("requested", "chosen")

    def describe(self) -> str:
        """One line: reason, count and places; what cannot be printed is escaped."""
        is_counted = self.action != "chosen"
        more = ", ..." if is_counted and self.count > len(self.examples) else ""
        count = f": {self.count:,}" if is_counted else ""
        places = f" ({', '.join(self.examples)}{more})" if self.examples else ""
        return shown(f"{self.reason}{count}{places}", max_length=MAX_SHOWN)


def merge_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Adds up findings: one entry a reason, in the order of first appearance."""
    merged: dict[tuple[str, Action], Finding] = {}
    for finding in findings:
        known = merged.get((finding.reason, finding.action))
        if known is not None:
            examples = (known.examples + finding.examples)[:MAX_EXAMPLES]
            finding = replace(known, count=known.count + finding.count, examples=examples)
        merged[finding.reason, finding.action] = finding
    return tuple(merged.values())


@dataclass(frozen=True, eq=False)
class FaceTable:
    """P images and their N faces, labelled or detected, in flat arrays.

    The faces of an image stand together, in the order of the images. A label or prediction file is read into a table;
    checks, conversion, evaluation and drawing work on it. In a checked table boxes are finite, and in one of
    predictions the faces of an image are sorted, highest score first.

    Attributes:
        file_names: P paths relative to the image root, forward slashes.
        num_faces: (P,) faces of each image.
        boxes: (N, 4) x_min, y_min, x_max, y_max in pixels of the original image.
        landmarks: (N, 5, 2) x, y in the order of LANDMARK_NAMES; NaN where missing.
        has_landmarks: (N, 5) whether each point is known.
        ignore: (N,) faces that are neither positive nor background (invalid, too small).
        image_sizes: (P, 2) height and width in pixels, 0 where unknown.
        scores: (N,) in [0, 1]; None for labels.
        attributes: name -> (N,) values (blur, occlusion, pose, ...); NaN where unknown.
        image_ids: P ids of a COCO file; None for other sources.
        category_ids: ids of the classes that are faces, of a COCO file.
        sources: P files that the images were read from, for messages; empty where they were read from none.
        lines: (N,) line of each face in its file, from 1; 0 where the format has no lines.
        format_name: of the file that was read.
        image_root: folder of the images, where it is known.
        findings: what was wrong with the source, one entry a kind.
        label_files: files that were read, where a folder left it open which of its files they are.
        boxes_are_corners: whether the source holds two corners, which may come in any order, or a corner and a size.
        is_order_known: whether the format fixes which eye comes first; else the faces decide.
    """

    file_names: Sequence[str]
    num_faces: IntArray
    boxes: FloatArray
    landmarks: FloatArray
    has_landmarks: BoolArray
    ignore: BoolArray
    image_sizes: IntArray
    scores: FloatArray | None = None
    attributes: Mapping[str, FloatArray] = field(default_factory=dict)
    image_ids: Sequence[int | str] | None = None
    category_ids: tuple[int | str, ...] = ()
    sources: Sequence[Path] = ()
    lines: IntArray | None = None
    format_name: str = ""
    image_root: Path | None = None
    findings: tuple[Finding, ...] = ()
    label_files: tuple[Path, ...] = ()
    boxes_are_corners: bool = True
    is_order_known: bool = True

    def __post_init__(self) -> None:
        num_images, n = len(self.file_names), len(self.boxes)
        arrays: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
            "num_faces": (np.intp, (num_images,)),
            "boxes": (np.float32, (-1, 4)),
            "landmarks": (np.float32, (n, NUM_LANDMARKS, 2)),
            "has_landmarks": (np.bool_, (n, NUM_LANDMARKS)),
            "ignore": (np.bool_, (n,)),
            "image_sizes": (np.intp, (num_images, 2)),
            "scores": (np.float32, (n,)),
            "lines": (np.intp, (n,)),
        }
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found by the checks
            values = {k: frozen_array(v, np.float32, (n,), k) for k, v in self.attributes.items()}
            object.__setattr__(self, "attributes", values)
            for name, (dtype, shape) in arrays.items():
                value = getattr(self, name)
                if name == "lines" and value is None:
                    value = np.zeros(n)
                if value is not None:
                    object.__setattr__(self, name, frozen_array(value, dtype, shape, name))
        if int(self.num_faces.sum()) != n:
            raise ValueError(f"num_faces: expected a sum of {n}, got {int(self.num_faces.sum())}")

    @classmethod
    def from_boxes(
        cls,
        file_names: Sequence[str],
        num_faces: npt.ArrayLike,
        boxes: npt.ArrayLike,
        *,
        landmarks: npt.ArrayLike | None = None,
        image_sizes: npt.ArrayLike | None = None,
        **others: Any,
    ) -> FaceTable:
        """A table of arrays of any type of number; what is not given is not known, and no face is ignored.

        Landmarks are known where they are no NaN, unless `has_landmarks` is among the other attributes of the table.
        """
        corners: Any = np.asarray(boxes).reshape(-1, 4)
        n = len(corners)
        points: Any = np.full((n, NUM_LANDMARKS, 2), np.nan) if landmarks is None else np.asarray(landmarks)
        sizes: Any = np.zeros((len(file_names), 2)) if image_sizes is None else image_sizes
        if "has_landmarks" not in others:
            others["has_landmarks"] = ~np.isnan(points).any(axis=2)
        others.setdefault("ignore", np.zeros(n))
        return cls(list(file_names), num_faces, corners, points, image_sizes=sizes, **others)  # type: ignore[arg-type]

    @classmethod
    def from_labels(
        cls, file_names: Sequence[str], faces: Sequence[FaceLabels], *, image_sizes: npt.ArrayLike | None = None
    ) -> FaceTable:
        """A table of the true faces of some images; sizes are (P, 2) height and width."""
        parts = [*faces, FaceLabels.empty()]
        arrays = _join(parts, "boxes", "landmarks", "has_landmarks", "ignore") | {"attributes": _join_attributes(parts)}
        return cls.from_boxes(file_names, list(map(len, faces)), image_sizes=image_sizes, **arrays)

    @classmethod
    def from_detections(
        cls, file_names: Sequence[str], faces: Sequence[FaceDetections], *, image_sizes: npt.ArrayLike | None = None
    ) -> FaceTable:
        """A table of the faces that a detector found in some images; sizes are (P, 2) height and width."""
        arrays = _join([*faces, FaceDetections.empty()], "boxes", "landmarks", "scores")
        return cls.from_boxes(file_names, list(map(len, faces)), image_sizes=image_sizes, **arrays)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.file_names)

    @property
    def ends(self) -> IntArray:
        """(P,) index behind the last face of each image."""
        return np.cumsum(self.num_faces)

    @property
    def starts(self) -> IntArray:
        """(P,) index of the first face of each image."""
        return self.ends - self.num_faces

    @property
    def image_index(self) -> IntArray:
        """(N,) image of each face."""
        return np.repeat(np.arange(len(self.file_names)), self.num_faces)

    def spans(self) -> Iterator[tuple[str, slice]]:
        """Name and faces of each image."""
        for name, start, end in zip(self.file_names, self.starts.tolist(), self.ends.tolist(), strict=True):
            yield name, slice(start, end)

    def place(self, face: int) -> str:
        """Where a face stands: `file:line`, or the file, the image and the number of the face in it."""
        image = int(np.searchsorted(self.ends, face, side="right"))
        source = f"{self.sources[image]}" if self.sources else "?"
        line = 0 if self.lines is None else int(self.lines[face])
        if line:
            return f"{source}:{line}"
        return f"{source}: {self.file_names[image]}, face {face - int(self.starts[image]) + 1}"

    def labels(self) -> list[FaceLabels]:
        """The faces of each image as labels; they share memory with the table."""
        whole = FaceLabels(self.boxes, self.landmarks, self.has_landmarks, self.ignore, self.attributes)
        return whole.split(self.num_faces.tolist())

    def detections(self) -> list[FaceDetections]:
        """The faces of each image as detections; they share memory with the table."""
        scores = np.ones(len(self.boxes), np.float32) if self.scores is None else self.scores
        whole = FaceDetections(self.boxes, self.landmarks, scores)
        return [whole.select(faces) for _, faces in self.spans()]

    def label_images(self) -> list[ImageLabels]:
        """The images as labels, one by one."""
        return self._images(self.labels())

    def detection_images(self) -> list[ImageDetections]:
        """The images as detections, one by one."""
        return self._images(self.detections())

    def _images(self, parts: Sequence[Faces]) -> list[ImageFaces[Faces]]:
        """The images, one by one, each with its part of the faces."""
        images = zip(self.file_names, parts, self.image_sizes.tolist(), strict=True)
        return [ImageFaces(name, faces, width=w or None, height=h or None) for name, faces, (h, w) in images]

    @classmethod
    def from_images(cls, images: Iterable[ImageLabels] | Iterable[ImageDetections]) -> FaceTable:
        """A table of images, all of them labels or all of them detections."""
        entries: list[ImageFaces[Any]] = list(images)
        names = [entry.file_name for entry in entries]
        sizes = [(entry.height or 0, entry.width or 0) for entry in entries]
        faces: list[Any] = [entry.faces for entry in entries]
        make = cls.from_detections if faces and isinstance(faces[0], FaceDetections) else cls.from_labels
        return make(names, faces, image_sizes=sizes)

    def with_finding(
        self, reason: str, action: Action, mask: BoolArray, place: Callable[[int], str] | None = None
    ) -> FaceTable:
        """The table with what was found at the positions of a mask, nothing where it is empty.

        Args:
            reason: see Finding.
            action: see Finding.
            mask: of the faces; with `place`, of whatever that names.
            place: names a position; None: FaceTable.place.
        """
        index = np.flatnonzero(mask)
        if not len(index):
            return self
        examples = tuple(map(place or self.place, index[:MAX_EXAMPLES].tolist()))
        return replace(self, findings=(*self.findings, Finding(reason, action, len(index), examples)))

    def select_images(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> FaceTable:
        """The images at the given positions (or of a mask), in that order, with their faces."""
        chosen = np.flatnonzero(index) if index.dtype == np.bool_ else index.astype(np.intp)
        counts = self.num_faces[chosen]
        firsts = np.repeat(self.starts[chosen] - (np.cumsum(counts) - counts), counts)
        ids, sources = self.image_ids, self.sources
        return replace(
            self,
            **self._faces_at(firsts + np.arange(len(firsts))),
            file_names=[self.file_names[i] for i in chosen.tolist()],
            num_faces=counts,
            image_sizes=self.image_sizes[chosen],
            image_ids=None if ids is None else [ids[i] for i in chosen.tolist()],
            sources=[sources[i] for i in chosen.tolist()] if sources else (),
        )

    def select_faces(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> FaceTable:
        """The faces of a mask or at the given positions, which must not mix images; every image stays."""
        counts = np.bincount(self.image_index[index], minlength=len(self.file_names))
        return replace(self, **self._faces_at(index), num_faces=counts)

    def _faces_at(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> dict[str, Any]:
        """The arrays of the chosen faces, by name."""
        return {
            "boxes": self.boxes[index],
            "landmarks": self.landmarks[index],
            "has_landmarks": self.has_landmarks[index],
            "ignore": self.ignore[index],
            "scores": None if self.scores is None else self.scores[index],
            "lines": None if self.lines is None else self.lines[index],
            "attributes": {name: values[index] for name, values in self.attributes.items()},
        }

    @classmethod
    def concatenate(cls, tables: Sequence[FaceTable]) -> FaceTable:
        """The images of all tables, one after the other; what is no array is that of the first table."""
        if len(tables) == 1:
            return tables[0]
        scores = [table.scores for table in tables if table.scores is not None]
        ids = [table.image_ids for table in tables if table.image_ids is not None]
        return replace(
            tables[0],
            **_join(tables, "num_faces", "boxes", "landmarks", "has_landmarks", "ignore", "image_sizes", "lines"),
            file_names=[name for table in tables for name in table.file_names],
            scores=np.concatenate(scores) if len(scores) == len(tables) else None,
            image_ids=list(chain.from_iterable(ids)) if len(ids) == len(tables) else None,
            sources=[source for table in tables for source in table.sources],
            findings=merge_findings(finding for table in tables for finding in table.findings),
            attributes=_join_attributes(tables),
        )


def _join(parts: Sequence[Any], *names: str) -> dict[str, Any]:
    """Name -> the arrays of all parts, one after the other."""
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}


def _join_attributes(parts: Sequence[FaceTable | FaceLabels]) -> dict[str, FloatArray]:
    """The attributes of all faces, one part after the other; NaN where a part does not have one."""
    unknown = [np.full(len(part.boxes), np.nan, np.float32) for part in parts]
    return {
        name: np.concatenate([part.attributes.get(name, nothing) for part, nothing in zip(parts, unknown, strict=True)])
        for name in dict.fromkeys(name for part in parts for name in part.attributes)
    }


def read_occlusion(values: npt.NDArray[np.floating[Any]]) -> BoolArray:
    """(N, 5) which landmarks are occluded, from (N,) values of the attribute; none where it is no such sum."""
    known = np.where((values >= 0) & (values < 2**NUM_LANDMARKS), values, 0).astype(np.intp)
    result: BoolArray = np.not_equal(known[:, None] & OCCLUSION_BITS, 0)
    return result
