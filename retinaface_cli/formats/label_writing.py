"""The formats in which labels are written, what each of them can hold, and writing itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.faces import FaceDetections, ImageDetections, ImageLabels
from retinaface_cli.files.atomic import atomic_folder, atomic_path
from retinaface_cli.formats.canonical_writing import write_canonical, write_json_lines
from retinaface_cli.formats.coco_writing import write_coco
from retinaface_cli.formats.csv_writing import write_csv
from retinaface_cli.formats.face_table import OCCLUDED_LANDMARKS
from retinaface_cli.formats.flat_labels import FlatLabels
from retinaface_cli.formats.label_txt_writing import write_label_txt
from retinaface_cli.formats.prediction_wider import write_wider_files
from retinaface_cli.formats.retinaface_text import LANDMARK_BLUR
from retinaface_cli.formats.yolo_writing import write_yolo


@dataclass(frozen=True)
class LabelWriter:
    """One format of labels to write.

    Attributes:
        title: what it is, in the user's words.
        suffixes: endings of OUT that mean this format; empty for formats that must be named.
        write: writes a file, or into an empty folder.
        is_folder: whether the result is a folder.
        holds_landmarks: whether landmarks are kept.
        holds_ignore: whether ignored faces are kept; else they are left out.
        holds_sizes: whether the images' sizes are kept (YOLO files keep them in the images).
        attributes: names of the attributes that are kept; None: all.
    """

    title: str
    suffixes: tuple[str, ...]
    write: Callable[[Path, Sequence[ImageLabels]], None]
    is_folder: bool = False
    holds_landmarks: bool = True
    holds_ignore: bool = True
    holds_sizes: bool = True
    attributes: tuple[str, ...] | None = None

    def count_faces(self, images: Sequence[ImageLabels]) -> int:
        """Number of faces that are written."""
        return sum(len(image.faces) if self.holds_ignore else int((~image.faces.ignore).sum()) for image in images)

    def describe_losses(self, flat: FlatLabels) -> tuple[str, ...]:
        """What of these labels the format cannot hold, one phrase each."""
        faces = flat.faces
        losses = []
        if not self.holds_landmarks and (count := int(faces.has_landmarks.any(axis=1).sum())):
            losses.append(f"landmarks of {count:,} faces")
        if not self.holds_ignore and (count := int(faces.ignore.sum())):
            losses.append(f"{count:,} ignored faces, left out")
        lost = [name for name in faces.attributes if self.attributes is not None and name not in self.attributes]
        if lost:
            losses.append(f"attributes {', '.join(lost)}")
        if not self.holds_sizes and (count := sum(image.width is not None for image in flat.images)):
            losses.append(f"sizes of {count:,} images")
        return tuple(losses)


def write_wider_detections(folder: Path, images: Sequence[ImageLabels]) -> None:
    """Writes labels as the WIDER tools want detections: `<event>/<stem>.txt`, every face with the score 1."""
    write_wider_files(folder, [_as_detections(image) for image in images])


def _as_detections(image: ImageLabels) -> ImageDetections:
    """The faces that count, as if a perfect detector had found them."""
    faces = image.faces.select(~image.faces.ignore)
    detections = FaceDetections(faces.boxes, faces.landmarks, np.ones(len(faces), np.float32))
    return ImageDetections(image.file_name, detections, image.width, image.height)


WRITERS: Mapping[str, LabelWriter] = {
    "json": LabelWriter("retinaface JSON", (".json",), write_canonical),
    "jsonl": LabelWriter("retinaface JSON Lines", (".jsonl", ".ndjson"), write_json_lines),
    "coco": LabelWriter("COCO keypoints", (), write_coco),
    "yolo": LabelWriter(
        "YOLO-pose folder", (), write_yolo, is_folder=True, holds_ignore=False, attributes=(OCCLUDED_LANDMARKS,)
    ),
    "retinaface": LabelWriter(
        "RetinaFace label.txt",
        (".txt",),
        write_label_txt,
        holds_ignore=False,
        holds_sizes=False,
        attributes=(OCCLUDED_LANDMARKS, LANDMARK_BLUR),
    ),
    "wider": LabelWriter(
        "WIDER detections folder",
        (),
        write_wider_detections,
        is_folder=True,
        holds_landmarks=False,
        holds_ignore=False,
        holds_sizes=False,
        attributes=(),
    ),
    "csv": LabelWriter("CSV table", (".csv",), write_csv),
}
"""Format name -> writer."""


def format_of_output(path: Path) -> str:
    """The format that the ending of a file to write means.

    Raises:
        RetinaFaceError: the ending says nothing.
    """
    for name, writer in WRITERS.items():
        if path.suffix.lower() in writer.suffixes:
            return name
    known = ", ".join(f"{suffix} ({name})" for name, writer in WRITERS.items() for suffix in writer.suffixes)
    raise RetinaFaceError(
        f"{path}: its ending does not say the format to write; known endings: {known}; "
        f"or name the format with --to: {', '.join(WRITERS)}"
    )


def write_labels(path: Path, images: Sequence[ImageLabels], *, format_name: str | None = None) -> None:
    """Writes labels; the file or folder appears whole or not at all, and replaces what was there.

    Args:
        path: file or, for yolo and wider, folder.
        images: images with distinct names.
        format_name: a key of WRITERS; None: by the ending of the path.

    Raises:
        RetinaFaceError: the format cannot be told or cannot hold these labels; a folder holds other things.
    """
    write_label_files({path: images}, format_name=format_name or format_of_output(path))


def write_label_files(outputs: Mapping[Path, Sequence[ImageLabels]], *, format_name: str) -> None:
    """Writes several label files or folders, as write_labels does one; all of them appear, or none.

    Raises:
        RetinaFaceError: the format cannot hold these labels, a folder holds other things, or writing fails.
    """
    writer = WRITERS[format_name]
    try:
        with ExitStack() as stack:
            for path, images in outputs.items():
                if writer.is_folder:
                    place = stack.enter_context(atomic_folder(path, replaceable=(".txt", ".yaml")))
                else:
                    place = stack.enter_context(atomic_path(path))
                writer.write(place, images)
    except OSError as error:
        raise RetinaFaceError(f"{', '.join(map(str, outputs))}: cannot be written: {error}") from None
