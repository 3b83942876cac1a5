"""The true faces that `evaluate` scores against: which images, which faces count, and for which subsets."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import BoolArray, FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable, read_labels
from retinaface_cli.formats.wider_ground_truth import DIFFICULTIES, read_wider_ground_truth, read_wider_mat

WIDER_FILES = tuple(f"wider_{name}_val.mat" for name in ("face", *DIFFICULTIES))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled images.

    Attributes:
        name: what the user called it.
        format_name: of the labels.
        images: with distinct names.
        subsets: name -> (F,) which of all faces count in the WIDER FACE protocol.
        notes: what is doubtful about the labels, one line each.
        paths: name of an image -> where it lies, where that is known.
        image_root: folder that the names are relative to, where it is known.
        image_ids: id of an image in a COCO file -> its name.
        category_ids: ids of the classes that are faces, of a COCO file.
    """

    name: str
    format_name: str
    images: tuple[ImageLabels, ...]
    subsets: Mapping[str, BoolArray]
    notes: tuple[str, ...] = ()
    paths: Mapping[str, Path] = field(default_factory=dict)
    image_root: Path | None = None
    image_ids: Mapping[int | str, str] = field(default_factory=dict)
    category_ids: tuple[int | str, ...] = ()

    @property
    def num_faces(self) -> int:
        """Labelled faces, ignored ones too."""
        return sum(len(image.faces) for image in self.images)

    @property
    def num_ignored(self) -> int:
        """Faces that are ignored."""
        return sum(int(np.count_nonzero(image.faces.ignore)) for image in self.images)

    @property
    def has_landmarks(self) -> bool:
        """Whether any face that is not ignored has a landmark."""
        return any(bool(image.faces.has_landmarks[~image.faces.ignore].any()) for image in self.images)

    @property
    def has_difficulties(self) -> bool:
        """Whether the subsets are WIDER FACE's easy, medium and hard."""
        return set(DIFFICULTIES) <= set(self.subsets)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any name, box, landmark or mark of the labels."""
        digest = hashlib.sha256()
        for image in self.images:
            faces = image.faces
            digest.update(image.file_name.encode("utf-8", "surrogateescape") + b"\0")
            for array in (faces.boxes, faces.landmarks, faces.ignore):
                digest.update(np.ascontiguousarray(array).tobytes())
        for name, mask in self.subsets.items():
            digest.update(name.encode() + mask.tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """One line for the user."""
        ignored = f", {self.num_ignored:,} of them ignored" if self.num_ignored else ""
        return f"{self.name} ({self.format_name}): {len(self.images):,} images, {self.num_faces:,} faces{ignored}"


def read_truth(labels: Path, *, format_name: str | None = None, images: Path | None = None) -> GroundTruth:
    """Reads labels: WIDER FACE's ground_truth folder with easy, medium and hard, or any label file.

    Args:
        labels: file or folder.
        format_name: of the labels; None: found out by looking.
        images: folder of the images, for formats that cannot be understood without them.

    Raises:
        LabelFormatError: they cannot be understood, name an image twice, or hold no face that counts.
    """
    folder = _wider_folder(labels) if format_name is None else None
    if folder is not None:
        truth = _read_wider(folder, name=str(labels))
    else:
        found = _read_any(labels, format_name, images)
        truth = make_truth(
            found.label_images(),
            name=str(labels),
            format_name=found.format_name,
            notes=tuple(finding.describe() for finding in found.findings),
            image_root=found.image_root,
        )
        image_ids = dict(zip(found.image_ids or (), found.file_names, strict=False))
        truth = replace(truth, image_ids=image_ids, category_ids=found.category_ids)
    _check(truth)
    return truth


def make_truth(
    images: Sequence[ImageLabels],
    *,
    name: str,
    format_name: str,
    notes: tuple[str, ...] = (),
    paths: Mapping[str, Path] | None = None,
    image_root: Path | None = None,
) -> GroundTruth:
    """Ground truth in which all faces count that are not ignored."""
    counted = np.concatenate([~image.faces.ignore for image in images] or [np.zeros(0, np.bool_)])
    return GroundTruth(
        name=name,
        format_name=format_name,
        images=tuple(images),
        subsets={"all": counted},
        notes=notes,
        paths=paths or {},
        image_root=image_root,
    )


def _read_any(labels: Path, format_name: str | None, images: Path | None) -> FaceTable:
    """Labels with the names that they give to images; only where that fails with those of the image folder."""
    try:
        return read_labels(labels, format_name=format_name)
    except LabelFormatError:
        if images is None:
            raise
        return read_labels(labels, format_name=format_name, images=images)


def _wider_folder(labels: Path) -> Path | None:
    """The folder with the four .mat files: the labels themselves, a folder `ground_truth` in them, or around them."""
    candidates = [labels, labels / "ground_truth"] if labels.is_dir() else []
    if labels.name in WIDER_FILES:
        candidates = [labels.parent]
    return next((folder for folder in candidates if all((folder / name).is_file() for name in WIDER_FILES)), None)


def _read_wider(folder: Path, *, name: str) -> GroundTruth:
    """Every box as it is labelled, nothing clipped or left out, for the official figures."""
    images_found = read_wider_ground_truth(folder)
    table = read_wider_mat(folder / WIDER_FILES[0])
    boxes = table.boxes.astype(np.float32)
    has_area = np.logical_and.reduce(boxes[:, 2:] > boxes[:, :2], axis=1)
    plain = FaceLabels.from_boxes(boxes)
    faces = FaceLabels(
        boxes=boxes,
        landmarks=plain.landmarks,
        has_landmarks=plain.has_landmarks,
        ignore=table.ignore | ~has_area,
        attributes={key: values.astype(np.float32) for key, values in table.attributes.items()},
    )
    ends = np.cumsum(table.num_faces).tolist()
    images = [
        ImageLabels(file_name, faces.select(np.arange(end - count, end)))
        for file_name, end, count in zip(table.file_names, ends, table.num_faces.tolist(), strict=True)
    ]
    subsets = {
        level: np.concatenate([one_image.is_counted[level] for one_image in images_found.values()])
        for level in DIFFICULTIES
    }
    return GroundTruth(name=name, format_name="WIDER FACE ground truth", images=tuple(images), subsets=subsets)


def _check(truth: GroundTruth) -> None:
    """Raises LabelFormatError where there is nothing to measure on."""
    counts = Counter(image.file_name for image in truth.images)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count > 1:
        raise LabelFormatError(f"{truth.name}: image {name} appears {count} times")
    if not truth.images:
        raise LabelFormatError(f"{truth.name}: holds no images")
    if not any(mask.any() for mask in truth.subsets.values()):
        raise LabelFormatError(
            f"{truth.name}: no face counts: {truth.num_faces} faces, {truth.num_ignored} of them ignored; "
            "there is nothing to score against"
        )
