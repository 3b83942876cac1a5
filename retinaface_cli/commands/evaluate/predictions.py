"""The predictions that `evaluate` scores: read, tied to the labelled images, and checked for wrong use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.errors import FileReadError, LabelFormatError, count_of, shown
from retinaface_cli.evaluation.matching import align_images, pair_ious, scores_of
from retinaface_cli.faces import FloatArray
from retinaface_cli.files.reading import read_bytes
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.images import pair_names

_MAX_NAMED = 3
_MAX_RUN_BYTES = 1 << 24
_CUT_SCORE = 0.1
_NUM_COMPARED = 200
_NORMALIZED_LIMIT = 2.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """Predictions to be scored.

    Attributes:
        name: what the user called them.
        faces: of the labelled images, in the order of the labels.
        num_images: labelled images that the predictions have an entry for.
        notes: what may be wrong with them, one line each.
        run: content of the run.json that `infer` left beside them: weights and settings; empty where there is none.
    """

    name: str
    faces: FaceTable
    num_images: int
    notes: tuple[str, ...]
    run: Mapping[str, Any]

    @property
    def num_faces(self) -> int:
        """Detections on labelled images."""
        return len(self.faces.boxes)

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
        line = f"{self.name}: {count_of(self.num_faces, 'face')} in {count_of(self.num_images, 'image')}"
        if self.run:
            threshold = self.run.get("settings", {}).get("score_threshold")
            line += f"; {self.run.get('weights')}, scale {self.scale}, score > {threshold}"
        return line


def make_candidate(
    predictions: FaceTable,
    truth: GroundTruth,
    *,
    name: str,
    run: Mapping[str, Any],
    positions: Sequence[int | None] | None = None,
) -> Candidate:
    """Ties predictions to the labelled images: by the ids of a COCO file where both have them, else by their names.

    Args:
        predictions: as they were read.
        truth: the labels.
        name: what the user called the predictions.
        run: see Candidate.
        positions: of the predictions' images in the labels, where they are known already.

    Raises:
        LabelFormatError: there are none, no image is in the labels, or two are the same one.
    """
    names = predictions.file_names
    if not names:
        raise LabelFormatError(f"{name}: holds no predictions")
    found = _find_images(predictions, truth) if positions is None else positions
    owners: dict[int, str] = {}
    for image, position in zip(names, found, strict=True):
        if position is not None and position in owners:
            both = f"{shown(owners[position])} and {shown(image)}"
            raise LabelFormatError(f"{name}: {both} are both taken for {shown(truth.faces.file_names[position])}")
        if position is not None:
            owners[position] = image
    if not owners:
        raise LabelFormatError(
            f"{name}: none of its {len(names)} images is in {truth.name}: it names {shown(names[0])}, the labels name "
            f"{shown(truth.faces.file_names[0])}"
        )
    faces = align_images(truth.faces, predictions, np.array([-1 if i is None else i for i in found], np.intp))
    unknown = [image for image, position in zip(names, found, strict=True) if position is None]
    missing = [image for position, image in enumerate(truth.faces.file_names) if position not in owners]
    notes = [finding.describe() for finding in predictions.findings]
    notes += [*_image_notes(unknown, missing), *_box_notes(faces, truth), *_score_notes(faces)]
    return Candidate(name, faces, len(owners), tuple(f"{name}: {note}" for note in notes), run)


def _find_images(predictions: FaceTable, truth: GroundTruth) -> list[int | None]:
    """The position of each image of the predictions in the labels."""
    ids = truth.faces.image_ids
    if predictions.image_ids is not None and ids:
        by_id = {identity: position for position, identity in enumerate(ids)}
        return [by_id.get(identity) for identity in predictions.image_ids]
    return pair_names(predictions.file_names, truth.faces.file_names)


def _image_notes(unknown: Sequence[str], missing: Sequence[str]) -> list[str]:
    """Images that are only in the predictions, or only in the labels."""
    notes = []
    if unknown:
        notes.append(f"left out, as the labels do not have them: {count_of(len(unknown), 'image')} ({_some(unknown)})")
    if missing:
        notes.append(f"{len(missing):,} labelled images have no predictions and count as none ({_some(missing)})")
    return notes


def _score_notes(faces: FaceTable) -> list[str]:
    """A threshold so high that recall was lost."""
    scores = scores_of(faces)
    if len(scores) == 0:
        return ["they hold not a single face"]
    lowest = float(scores.min())
    if lowest <= _CUT_SCORE:
        return []
    return [f"the lowest score is {lowest:.3f}: a threshold cut the recall, and with it AP; detect with .02 or less"]


def _box_notes(faces: FaceTable, truth: GroundTruth) -> list[str]:
    """Boxes that fit another convention better: sizes in place of corners or the other way round, or parts of 1."""
    counted = truth.faces.select_faces(~truth.faces.ignore)
    images = np.flatnonzero((faces.num_faces > 0) & (counted.num_faces > 0))[:_NUM_COMPARED].tolist()
    if not images:
        return []
    starts, ends, true_starts, true_ends = faces.starts, faces.ends, counted.starts, counted.ends
    pairs = [
        (faces.boxes[starts[i] : min(starts[i] + 10, ends[i])], counted.boxes[true_starts[i] : true_ends[i]])
        for i in images
    ]
    if max(float(boxes.max()) for boxes, _ in pairs) <= _NORMALIZED_LIMIT:
        return ["the boxes seem to be parts of the image's size; pixels are wanted"]
    as_is = _overlap(pairs)
    as_sizes = _overlap([(np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1), true) for b, true in pairs])
    as_corners = _overlap([(np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1), true) for b, true in pairs])
    for overlap, found, wanted in (
        (as_sizes, "x, y, width, height", "corners x_min, y_min, x_max, y_max"),
        (as_corners, "corners", "x, y, width, height, as this format has them"),
    ):
        if overlap > max(2 * as_is, 0.3):
            return [f"the boxes seem to be {found} (mean IoU {overlap:.2f}, as read {as_is:.2f}); wanted: {wanted}"]
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
    return ", ".join(map(shown, names[:_MAX_NAMED])) + (", ..." if len(names) > _MAX_NAMED else "")


def read_run_file(path: Path) -> dict[str, Any]:
    """What `infer` noted beside its predictions (a file or a folder) about the run; empty where it did not."""
    folders = (path, path.parent) if path.is_dir() else (path.parent,)
    for folder in folders:
        try:
            content = orjson.loads(read_bytes(folder / "run.json", max_bytes=_MAX_RUN_BYTES))
        except (FileReadError, ValueError):
            continue
        if isinstance(content, dict) and "weights_sha256" in content:
            return content
    return {}
