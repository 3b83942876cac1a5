"""The predictions that `evaluate` scores: read, tied to the labelled images, and looked at for wrong use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.errors import LabelFormatError
from retinaface_cli.evaluation.matching import pair_ious
from retinaface_cli.faces import FloatArray, ImageDetections
from retinaface_cli.formats.images import pair_names

_MAX_NAMED = 3
_CUT_SCORE = 0.1
_NUM_LOOKED_AT = 200
_NORMALIZED_LIMIT = 2.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """Predictions to be scored.

    Attributes:
        name: what the user called them.
        images: named as in the labels, at most one a labelled image.
        notes: what is doubtful about them, one line each.
        run: content of the run.json that `infer` left beside them: weights and settings; empty where there is none.
    """

    name: str
    images: tuple[ImageDetections, ...]
    notes: tuple[str, ...]
    run: Mapping[str, Any]

    @property
    def num_faces(self) -> int:
        """Detections on labelled images."""
        return sum(len(image.faces) for image in self.images)

    @property
    def scale(self) -> str | None:
        """Test scale (original, 640, 1600x2150, with `, flip` and such behind), where it is known."""
        settings = self.run.get("settings")
        if not isinstance(settings, Mapping) or "max_size" not in settings:
            return None
        short, long = settings.get("short_side"), settings["max_size"]
        size = "original" if long is None and short is None else f"{short}x{long}" if short else str(long)
        return ", ".join([size, *settings.get("tta", ())])

    def describe(self) -> str:
        """One line for the user."""
        line = f"{self.name}: {self.num_faces:,} faces in {len(self.images):,} images"
        if self.run:
            threshold = self.run.get("settings", {}).get("score_threshold")
            line += f"; {self.run.get('weights')}, scale {self.scale}, score > {threshold}"
        return line


def make_candidate(
    images: Sequence[ImageDetections],
    truth: GroundTruth,
    *,
    name: str,
    run: Mapping[str, Any],
    image_ids: Sequence[int | str] | None = None,
) -> Candidate:
    """Ties predictions to the labelled images: by the ids of a COCO file where both have them, else by their names.

    Raises:
        LabelFormatError: there are none, no image is in the labels, or two are the same one.
    """
    if not images:
        raise LabelFormatError(f"{name}: holds no predictions")
    labels = [image.file_name for image in truth.images]
    if image_ids is not None and truth.image_ids:
        matches = [truth.image_ids.get(identity) for identity in image_ids]
    else:
        pairs = pair_names([image.file_name for image in images], labels)
        matches = [None if index is None else labels[index] for index in pairs]
    paired = {image.file_name: label for image, label in zip(images, matches, strict=True) if label is not None}
    unknown = [image.file_name for image in images if image.file_name not in paired]
    if not paired:
        raise LabelFormatError(
            f"{name}: none of its {len(images)} images is in {truth.name}: it names {images[0].file_name}, "
            f"the labels name {truth.images[0].file_name}"
        )
    owners: dict[str, str] = {}
    for image in images:
        label = paired.get(image.file_name)
        if label is not None and label in owners:
            raise LabelFormatError(f"{name}: {owners[label]} and {image.file_name} are both taken for {label}")
        if label is not None:
            owners[label] = image.file_name
    known = tuple(replace(image, file_name=paired[image.file_name]) for image in images if image.file_name in paired)
    notes = [*_image_notes(unknown, known, truth), *_box_notes(known, truth), *_score_notes(known)]
    return Candidate(name=name, images=known, notes=tuple(f"{name}: {note}" for note in notes), run=run)


def _image_notes(unknown: Sequence[str], known: Sequence[ImageDetections], truth: GroundTruth) -> list[str]:
    """Images that are only in the predictions, or only in the labels."""
    notes = []
    if unknown:
        notes.append(f"{len(unknown):,} images are not in the labels and were left out ({_some(unknown)})")
    have = {image.file_name for image in known}
    missing = [image.file_name for image in truth.images if image.file_name not in have]
    if missing:
        notes.append(f"{len(missing):,} labelled images have no predictions and count as none ({_some(missing)})")
    return notes


def _score_notes(known: Sequence[ImageDetections]) -> list[str]:
    """A threshold so high that recall was lost."""
    scores = [float(image.faces.scores.min()) for image in known if len(image.faces)]
    if not scores:
        return ["there is not a single face in them"]
    if min(scores) <= _CUT_SCORE:
        return []
    return [
        f"the lowest score is {min(scores):.3f}: a threshold cut the recall, and with it AP; detect with .02 or less"
    ]


def _box_notes(known: Sequence[ImageDetections], truth: GroundTruth) -> list[str]:
    """Boxes that look like another convention: sizes in place of corners or the other way round, or parts of 1."""
    faces = {image.file_name: image.faces.boxes[~image.faces.ignore] for image in truth.images}
    pairs = [(image.faces.boxes, faces[image.file_name]) for image in known if len(image.faces)]
    pairs = [(boxes[:10], true) for boxes, true in pairs if len(true)][:_NUM_LOOKED_AT]
    if not pairs:
        return []
    if max(float(boxes.max()) for boxes, _ in pairs) <= _NORMALIZED_LIMIT:
        return ["the boxes look like parts of the image's size; pixels are wanted"]
    as_is = _overlap(pairs)
    as_sizes = _overlap([(np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1), true) for b, true in pairs])
    as_corners = _overlap([(np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1), true) for b, true in pairs])
    for overlap, found, wanted in (
        (as_sizes, "x, y, width, height", "corners x_min, y_min, x_max, y_max"),
        (as_corners, "corners", "x, y, width, height, as this format has them"),
    ):
        if overlap > max(2 * as_is, 0.3):
            return [f"the boxes look like {found} (mean IoU {overlap:.2f}, as read {as_is:.2f}); wanted: {wanted}"]
    return []


def _overlap(pairs: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """Mean IoU of each image's best boxes with the face they overlap most."""
    best = [
        pair_ious(np.repeat(boxes, len(true), axis=0), np.tile(true, (len(boxes), 1)))
        .reshape(len(boxes), -1)
        .max(axis=1)
        for boxes, true in pairs
    ]
    return float(np.mean(np.concatenate(best)))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def read_run_file(path: Path) -> dict[str, Any]:
    """What `infer` noted beside its predictions (a file or a folder) about the run; empty where it did not."""
    folders = (path, path.parent) if path.is_dir() else (path.parent,)
    for folder in folders:
        try:
            content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and "weights_sha256" in content:
            return content
    return {}
