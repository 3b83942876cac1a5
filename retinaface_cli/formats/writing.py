"""The formats in which labels and predictions are written, what each of them can hold, and writing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from retinaface_cli.errors import RetinaFaceError, count_of
from retinaface_cli.faces import FloatArray
from retinaface_cli.files.output_files import write_file, write_folder
from retinaface_cli.formats.canonical import image_lines, write_canonical, write_json_lines
from retinaface_cli.formats.coco import write_coco, write_results
from retinaface_cli.formats.csv_table import write_csv
from retinaface_cli.formats.retinaface_text import LANDMARK_BLUR, write_label_txt
from retinaface_cli.formats.table import OCCLUDED_LANDMARKS, FaceTable
from retinaface_cli.formats.wider import write_wider_detections, write_wider_labels
from retinaface_cli.formats.wider_ground_truth import WIDER_ATTRIBUTES
from retinaface_cli.formats.yolo import write_yolo

PredictionFormat = Literal["json", "jsonl", "coco", "wider", "csv"]

_NUM_DECIMALS = 3
"""Decimals of coordinates in prediction files, in pixels: far below what a detector can mean."""


class LabelWriter(NamedTuple):
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
    write: Callable[[Path, FaceTable], None]
    is_folder: bool = False
    holds_landmarks: bool = True
    holds_ignore: bool = True
    holds_sizes: bool = True
    attributes: tuple[str, ...] | None = None

    def count_faces(self, table: FaceTable) -> int:
        """Number of faces that are written."""
        return len(table.boxes) if self.holds_ignore else int((~table.ignore).sum())

    def describe_losses(self, table: FaceTable) -> tuple[str, ...]:
        """What of these labels the format cannot hold, one phrase each."""
        losses = []
        if not self.holds_landmarks and (count := int(table.has_landmarks.any(axis=1).sum())):
            losses.append(f"landmarks of {count_of(count, 'face')}")
        if not self.holds_ignore and (count := int(table.ignore.sum())):
            losses.append(f"{count_of(count, 'ignored face')}, left out")
        lost = [name for name in table.attributes if self.attributes is not None and name not in self.attributes]
        if lost:
            losses.append(f"attributes {', '.join(lost)}")
        if not self.holds_sizes and (count := int((table.image_sizes > 0).all(axis=1).sum())):
            losses.append(f"sizes of {count_of(count, 'image')}")
        return tuple(losses)


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
        "WIDER FACE *_bbx_gt.txt",
        (),
        write_wider_labels,
        holds_landmarks=False,
        holds_sizes=False,
        attributes=WIDER_ATTRIBUTES,
    ),
    "csv": LabelWriter("CSV table", (".csv",), write_csv),
}
"""Format name -> writer of labels."""

PREDICTION_WRITERS: Mapping[PredictionFormat, Callable[[Path, FaceTable], None]] = {
    "json": write_canonical,
    "jsonl": write_json_lines,
    "coco": write_results,
    "wider": write_wider_detections,
    "csv": write_csv,
}
"""Format name -> writer of predictions into a file, or for `wider` into an empty folder."""


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


def write_labels(
    outputs: Mapping[Path, FaceTable] | str | Path,
    table: FaceTable | None = None,
    *,
    format_name: str | None = None,
    force: bool = False,
    protect: Iterable[Path] = (),
) -> None:
    """Writes labels; the file or folder appears whole or not at all.

    Args:
        outputs: where to write which labels, all of them or none; or one path.
        table: the labels for one path; images have distinct names.
        format_name: a key of WRITERS; None: by the ending of the path.
        force: whether what is in the place is replaced; of folders only those that this tool wrote.
        protect: files and folders that are never written over.

    Raises:
        RetinaFaceError: the format cannot be told or cannot hold these labels, or it cannot be written.
    """
    wanted = outputs if isinstance(outputs, Mapping) else {Path(outputs): table or FaceTable.from_boxes([], [], [])}
    sources = list(protect)
    with ExitStack() as stack:
        for path, labels in wanted.items():
            writer = WRITERS[format_name or format_of_output(path)]
            place = write_folder if writer.is_folder else write_file
            writer.write(stack.enter_context(place(path, force=force, protect=sources)), labels)


def write_predictions(path: Path, table: FaceTable, *, format_name: PredictionFormat, force: bool = True) -> None:
    """Writes predictions; the result appears whole or not at all.

    Coordinates have three decimals, scores as many as give the same float32 again.

    Args:
        path: the file to write; for `wider` the folder.
        table: with scores; the names of the images are distinct.
        format_name: the layout. COCO results hold no images without faces.
        force: whether what is in the place is replaced; of folders only those that this tool wrote.

    Raises:
        RetinaFaceError: the folder to write to holds other things, or it cannot be written.
    """
    place = write_folder if format_name == "wider" else write_file
    with place(path, force=force) as temporary:
        PREDICTION_WRITERS[format_name](temporary, round_predictions(table))


def prediction_lines(table: FaceTable) -> list[bytes]:
    """The JSON object of each image, as `infer` writes it into a file of its own."""
    return image_lines(round_predictions(table), with_paths=True)


def round_predictions(table: FaceTable) -> FaceTable:
    """The table with coordinates as prediction files hold them."""
    return replace(table, boxes=round_coordinates(table.boxes), landmarks=round_coordinates(table.landmarks))


def round_coordinates(values: FloatArray) -> FloatArray:
    """Coordinates in pixels as prediction files hold them."""
    return np.round(values.astype(np.float64), _NUM_DECIMALS).astype(np.float32)
