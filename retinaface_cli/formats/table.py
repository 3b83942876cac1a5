"""The faces of many images in one table of flat arrays, and what was found wrong in the file that they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    FloatArray,
    ImageDetections,
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
        values: dict[str, Any] = {
            "num_faces": frozen_array(self.num_faces, np.intp, (num_images,), "num_faces"),
            "boxes": frozen_array(self.boxes, np.float32, (-1, 4), "boxes"),
            "landmarks": frozen_array(self.landmarks, np.float32, (n, NUM_LANDMARKS, 2), "landmarks"),
            "has_landmarks": frozen_array(self.has_landmarks, np.bool_, (n, NUM_LANDMARKS), "has_landmarks"),
            "ignore": frozen_array(self.ignore, np.bool_, (n,), "ignore"),
            "image_sizes": frozen_array(self.image_sizes, np.intp, (num_images, 2), "image_sizes"),
            "attributes": {k: frozen_array(v, np.float32, (n,), k) for k, v in self.attributes.items()},
            "lines": frozen_array(np.zeros(n) if self.lines is None else self.lines, np.intp, (n,), "lines"),
        }
        if self.scores is not None:
            values["scores"] = frozen_array(self.scores, np.float32, (n,), "scores")
        if int(values["num_faces"].sum()) != n:
            raise ValueError(f"num_faces: expected a sum of {n}, got {int(values['num_faces'].sum())}")
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_boxes(cls, file_names: Sequence[str], num_faces: npt.ArrayLike, boxes: npt.ArrayLike) -> FaceTable:
        """A table of boxes without landmarks, none ignored; the sizes of the images are not known."""
        array = np.asarray(boxes, np.float32).reshape(-1, 4)
        n = len(array)
        return cls(
            file_names=file_names,
            num_faces=np.asarray(num_faces, np.intp).reshape(-1),
            boxes=array,
            landmarks=np.full((n, NUM_LANDMARKS, 2), np.nan, np.float32),
            has_landmarks=np.zeros((n, NUM_LANDMARKS), np.bool_),
            ignore=np.zeros(n, np.bool_),
            image_sizes=np.zeros((len(file_names), 2), np.intp),
        )

    @classmethod
    def from_labels(
        cls, file_names: Sequence[str], faces: Sequence[FaceLabels], *, image_sizes: npt.ArrayLike | None = None
    ) -> FaceTable:
        """A table of the true faces of some images; sizes are (P, 2) height and width."""
        sizes = np.zeros((len(file_names), 2)) if image_sizes is None else np.asarray(image_sizes)
        parts = [*faces, FaceLabels.empty()]
        names = dict.fromkeys(name for part in faces for name in part.attributes)
        return cls(
            file_names=list(file_names),
            num_faces=np.array([len(part) for part in faces], np.intp),
            boxes=np.concatenate([part.boxes for part in parts]),
            landmarks=np.concatenate([part.landmarks for part in parts]),
            has_landmarks=np.concatenate([part.has_landmarks for part in parts]),
            ignore=np.concatenate([part.ignore for part in parts]),
            image_sizes=sizes.astype(np.intp).reshape(len(file_names), 2),
            attributes={
                name: np.concatenate([part.attributes.get(name, _unknown(len(part))) for part in parts])
                for name in names
            },
        )

    @classmethod
    def from_detections(
        cls, file_names: Sequence[str], faces: Sequence[FaceDetections], *, image_sizes: npt.ArrayLike | None = None
    ) -> FaceTable:
        """A table of the faces that a detector found in some images; sizes are (P, 2) height and width."""
        sizes = np.zeros((len(file_names), 2)) if image_sizes is None else np.asarray(image_sizes)
        parts = [*faces, FaceDetections.empty()]
        landmarks = np.concatenate([part.landmarks for part in parts])
        return cls(
            file_names=list(file_names),
            num_faces=np.array([len(part) for part in faces], np.intp),
            boxes=np.concatenate([part.boxes for part in parts]),
            landmarks=landmarks,
            has_landmarks=~np.isnan(landmarks).any(axis=2),
            ignore=np.zeros(len(landmarks), np.bool_),
            image_sizes=sizes.astype(np.intp).reshape(len(file_names), 2),
            scores=np.concatenate([part.scores for part in parts]),
        )

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
        return FaceLabels(self.boxes, self.landmarks, self.has_landmarks, self.ignore, self.attributes).split(
            self.num_faces.tolist()
        )

    def detections(self) -> list[FaceDetections]:
        """The faces of each image as detections; they share memory with the table."""
        scores = np.ones(len(self.boxes), np.float32) if self.scores is None else self.scores
        whole = FaceDetections(self.boxes, self.landmarks, scores)
        return [
            whole.select(np.s_[start:end]) for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)
        ]

    def label_images(self) -> list[ImageLabels]:
        """The images as labels, one by one."""
        sizes = self.image_sizes.tolist()
        return [
            ImageLabels(name, faces, width=width or None, height=height or None)
            for name, faces, (height, width) in zip(self.file_names, self.labels(), sizes, strict=True)
        ]

    def detection_images(self) -> list[ImageDetections]:
        """The images as detections, one by one."""
        sizes = self.image_sizes.tolist()
        return [
            ImageDetections(name, faces, width=width or None, height=height or None)
            for name, faces, (height, width) in zip(self.file_names, self.detections(), sizes, strict=True)
        ]

    @classmethod
    def from_images(cls, images: Iterable[ImageLabels] | Iterable[ImageDetections]) -> FaceTable:
        """A table of images, all of them labels or all of them detections."""
        entries: list[ImageLabels | ImageDetections] = list(images)
        names = [entry.file_name for entry in entries]
        sizes = [(entry.height or 0, entry.width or 0) for entry in entries]
        labels = [entry.faces for entry in entries if isinstance(entry, ImageLabels)]
        detections = [entry.faces for entry in entries if isinstance(entry, ImageDetections)]
        if labels or not entries:
            return cls.from_labels(names, labels, image_sizes=sizes)
        return cls.from_detections(names, detections, image_sizes=sizes)

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
        first = tables[0]
        if len(tables) == 1:
            return first
        names = dict.fromkeys(name for table in tables for name in table.attributes)
        arrays = ("num_faces", "boxes", "landmarks", "has_landmarks", "ignore", "image_sizes", "lines")
        values: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in arrays}
        with_scores = [table.scores for table in tables if table.scores is not None]
        with_ids = [table.image_ids for table in tables if table.image_ids is not None]
        return replace(
            first,
            **values,
            file_names=[name for table in tables for name in table.file_names],
            scores=np.concatenate(with_scores) if len(with_scores) == len(tables) else None,
            image_ids=[one for ids in with_ids for one in ids] if len(with_ids) == len(tables) else None,
            sources=[source for table in tables for source in table.sources],
            findings=merge_findings(finding for table in tables for finding in table.findings),
            attributes={
                name: np.concatenate([table.attributes.get(name, _unknown(len(table.boxes))) for table in tables])
                for name in names
            },
        )


def _unknown(length: int) -> FloatArray:
    """Values of an attribute that is not known."""
    return np.full(length, np.nan, np.float32)


def read_occlusion(values: npt.NDArray[np.floating[Any]]) -> BoolArray:
    """(N, 5) which landmarks are occluded, from (N,) values of the attribute; none where it is no such sum."""
    known = np.where((values >= 0) & (values < 2**NUM_LANDMARKS), values, 0).astype(np.intp)
    result: BoolArray = np.not_equal(known[:, None] & OCCLUSION_BITS, 0)
    return result
