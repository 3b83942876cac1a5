"""Measuring a network on the validation images: collects what was found, over all processes, and computes figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch.distributed as dist

from retinaface_cli.data.batches import ValidationBatch
from retinaface_cli.evaluation.average_precision import score_ap50
from retinaface_cli.evaluation.landmarks import score_landmarks
from retinaface_cli.evaluation.matching import match_faces
from retinaface_cli.evaluation.wider_face import evaluate_wider_face
from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.wider_ground_truth import DIFFICULTIES, WiderImage


@dataclass(frozen=True, eq=False)
class ValidatedImage:
    """One validation image with its true and found faces, both in pixels of the original image.

    Attributes:
        file_name: as in the label file.
        labels: true faces.
        detections: found faces.
    """

    file_name: str
    labels: FaceLabels
    detections: FaceDetections


class ValidationRecorder:
    """Collects the results of one pass over the validation images."""

    def __init__(self, wider_ground_truth: Mapping[str, WiderImage] | None = None) -> None:
        """Starts with nothing.

        Args:
            wider_ground_truth: WIDER FACE's own labels, `<event>/<name>.jpg` -> faces; None: no such figures.
        """
        self._wider_ground_truth = wider_ground_truth or {}
        self._images: dict[int, ValidatedImage] = {}

    def add(self, batch: ValidationBatch, detections: Sequence[FaceDetections]) -> None:
        """Takes note of what was found in a batch, in original pixels; an image that came before is replaced."""
        images = zip(batch.indices, batch.file_names, batch.faces, detections, strict=True)
        for index, file_name, labels, found in images:
            self._images[index] = ValidatedImage(file_name, labels, found)

    def measure(self) -> dict[str, float]:
        """The figures over the images of all processes, each image once, the same in every process.

        All processes must call it together. The recorder is empty afterwards.
        """
        images, self._images = self._images, {}
        if not (dist.is_available() and dist.is_initialized()):
            return self._measure_images(images)
        parts: list[dict[int, ValidatedImage]] | None = (
            [{} for _ in range(dist.get_world_size())] if dist.get_rank() == 0 else None
        )
        dist.gather_object(images, parts)
        figures: list[dict[str, float]] = [{}]
        if parts is not None:
            figures = [self._measure_images({i: image for part in parts for i, image in part.items()})]
        dist.broadcast_object_list(figures)
        return figures[0]

    def _measure_images(self, images: Mapping[int, ValidatedImage]) -> dict[str, float]:
        """Figure name -> value; what cannot be measured on these images is left out."""
        in_order = [images[index] for index in sorted(images)]
        names = [str(index) for index in sorted(images)]
        labels = FaceTable.from_labels(names, [image.labels for image in in_order])
        matches = match_faces(labels, FaceTable.from_detections(names, [image.detections for image in in_order]))
        points = score_landmarks(matches)
        has_faces = any(not image.labels.ignore.all() for image in images.values())
        figures: dict[str, float | None] = {
            "ap50": score_ap50(matches).ap if has_faces else None,
            "nme_eyes": points.nme_eyes,
            "nme_box": points.nme_box,
            **self._measure_wider(in_order),
        }
        return {name: value for name, value in figures.items() if value is not None}

    def _measure_wider(self, images: Sequence[ValidatedImage]) -> dict[str, float]:
        """AP of the three subsets over the images that WIDER FACE's labels know, with its own boxes."""
        found = {wider_name(image.file_name): image for image in images}
        known = {name: self._wider_ground_truth[name] for name in sorted(found) if name in self._wider_ground_truth}
        if not known:
            return {}
        faces = [FaceLabels.from_boxes(truth.boxes) for truth in known.values()]
        labels = FaceTable.from_labels(list(known), faces)
        detections = FaceTable.from_detections(list(known), [found[name].detections for name in known])
        subsets = {kind: np.concatenate([one.is_counted[kind] for one in known.values()]) for kind in DIFFICULTIES}
        report = evaluate_wider_face(labels, detections, subsets=subsets)
        return {f"wider_{kind}": subset.ap for kind, subset in report.subsets.items()}


def wider_name(file_name: str) -> str:
    """`<event>/<name>.jpg` of any path to an image of WIDER FACE: its last two parts."""
    return "/".join(PurePosixPath(file_name).parts[-2:])
