"""The true faces that `evaluate` scores against: which images, which faces count, and for which subsets."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from retinaface_cli.data.sources import Source
from retinaface_cli.errors import ImageReadError, LabelFormatError, count_of, shown
from retinaface_cli.faces import BoolArray
from retinaface_cli.formats import FaceTable, read_labels_with_own_names
from retinaface_cli.formats.images import find_images
from retinaface_cli.formats.wider_ground_truth import DIFFICULTIES, read_wider_ground_truth, read_wider_mat

WIDER_FILES = tuple(f"wider_{name}_val.mat" for name in ("face", *DIFFICULTIES))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled images.

    Attributes:
        name: what the user called it.
        format_name: of the labels.
        faces: of the images, whose names are distinct.
        subsets: name -> (F,) which of all faces count in the WIDER FACE protocol.
        notes: what may be wrong with the labels, one line each.
        sources: name of an image -> where it lies, where that is known.
    """

    name: str
    format_name: str
    faces: FaceTable
    subsets: Mapping[str, BoolArray]
    notes: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def num_faces(self) -> int:
        """Labelled faces, ignored ones too."""
        return len(self.faces.boxes)

    @property
    def num_ignored(self) -> int:
        """Faces that are ignored."""
        return int(np.count_nonzero(self.faces.ignore))

    @property
    def has_landmarks(self) -> bool:
        """Whether any face that is not ignored has a landmark."""
        return bool(self.faces.has_landmarks[~self.faces.ignore].any())

    @property
    def has_difficulties(self) -> bool:
        """Whether the subsets are WIDER FACE's easy, medium and hard."""
        return set(DIFFICULTIES) <= set(self.subsets)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any name, box, landmark or mark of the labels."""
        digest = hashlib.sha256()
        arrays = (self.faces.boxes, self.faces.landmarks, self.faces.ignore)
        ends = self.faces.ends.tolist()
        for file_name, start, end in zip(self.faces.file_names, [0, *ends], ends, strict=False):
            digest.update(file_name.encode("utf-8", "surrogatepass") + b"\0")
            for array in arrays:
                digest.update(array[start:end].tobytes())
        for name, mask in self.subsets.items():
            digest.update(name.encode() + mask.tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """One line for the user."""
        ignored = f", {self.num_ignored:,} of them ignored" if self.num_ignored else ""
        counts = f"{count_of(len(self.faces), 'image')}, {count_of(self.num_faces, 'face')}"
        return f"{self.name} ({self.format_name}): {counts}{ignored}"


def read_truth(labels: Path, *, format_name: str | None = None, images: Path | None = None) -> GroundTruth:
    """Reads labels: WIDER FACE's ground_truth folder with easy, medium and hard, or any label file.

    Args:
        labels: file or folder.
        format_name: of the labels; None: found out from their content.
        images: folder of the images, for formats that cannot be understood without them.

    Raises:
        LabelFormatError: they cannot be understood, name an image twice, or hold no face that counts.
    """
    folder = _wider_folder(labels) if format_name is None else None
    if folder is not None:
        truth = _read_wider(folder, name=str(labels))
    else:
        faces = read_labels_with_own_names(labels, format_name=format_name, images=images)
        notes = tuple(finding.describe() for finding in faces.findings)
        truth = GroundTruth(str(labels), faces.format_name, faces, {"all": ~faces.ignore}, notes)
    _check(truth)
    return truth


def locate_images(truth: GroundTruth, images: Path | None) -> dict[str, Source]:
    """Where the labelled images lie, by name; missing ones are left out.

    Raises:
        LabelFormatError: the folder does not exist or holds none of them.
        ImageReadError: it is not known where they lie.
    """
    names = truth.faces.file_names
    if images is not None:
        place = find_images(images, names)
        candidates = {name: Source(place.root / place.name(name), name) for name in names}
    elif truth.sources:
        candidates = dict(truth.sources)
    elif truth.faces.image_root is not None:
        candidates = {name: Source(truth.faces.image_root / name, name) for name in names}
    else:
        raise ImageReadError(f"{truth.name}: does not say where its images are; name their folder with --images")
    return {name: source for name, source in candidates.items() if os.path.isfile(source.path)}  # noqa: PTH113  takes any name


def _wider_folder(labels: Path) -> Path | None:
    """The folder with the four .mat files: the labels themselves, a folder `ground_truth` in them, or around them."""
    candidates = [labels, labels / "ground_truth"] if labels.is_dir() else []
    if labels.name in WIDER_FILES:
        candidates = [labels.parent]
    return next((folder for folder in candidates if all((folder / name).is_file() for name in WIDER_FILES)), None)


def _read_wider(folder: Path, *, name: str) -> GroundTruth:
    """Every box as it is labelled, nothing clipped or left out, for the official figures."""
    images = read_wider_ground_truth(folder).values()
    table = read_wider_mat(folder / WIDER_FILES[0])
    has_area = np.logical_and.reduce(table.boxes[:, 2:] > table.boxes[:, :2], axis=1)
    subsets = {level: np.concatenate([image.is_counted[level] for image in images]) for level in DIFFICULTIES}
    return GroundTruth(name, "WIDER FACE ground truth", replace(table, ignore=table.ignore | ~has_area), subsets)


def _check(truth: GroundTruth) -> None:
    """Raises LabelFormatError where there is nothing to measure on."""
    counts = Counter(truth.faces.file_names)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    if count > 1:
        raise LabelFormatError(f"{truth.name}: image {shown(name)} appears {count} times")
    if not len(truth.faces):
        raise LabelFormatError(f"{truth.name}: holds no images")
    if not any(mask.any() for mask in truth.subsets.values()):
        raise LabelFormatError(
            f"{truth.name}: no face counts: {truth.num_faces} faces, {truth.num_ignored} of them ignored; "
            "there is nothing to score against"
        )
