"""Prediction files: what `infer` writes, and what other detectors write, read into one type.

Layouts: `json` (a list of images, one to a line), `jsonl` (one image to a line), `coco` (COCO results), `wider`
(a folder of `<event>/<stem>.txt` with `x y w h score`) and `csv`. Coordinates are written with three decimals,
scores as the shortest decimal number that gives the same float32 again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import ImageDetections
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.formats.prediction_csv import read_prediction_csv, write_prediction_csv
from retinaface_cli.formats.prediction_json import (
    detections_to_json,
    read_prediction_json,
    read_prediction_json_folder,
    write_coco_results,
    write_prediction_json,
    write_prediction_jsonl,
)
from retinaface_cli.formats.prediction_wider import read_prediction_wider, write_prediction_wider

PredictionFormat = Literal["json", "jsonl", "coco", "wider", "csv"]

FILE_WRITERS = {
    "json": write_prediction_json,
    "jsonl": write_prediction_jsonl,
    "coco": write_coco_results,
    "csv": write_prediction_csv,
}
"""Format name -> writer of one file; `wider`, a folder, stands apart."""

_OUTPUT_FILES = ("predictions.json", "predictions.jsonl", "predictions.csv")

__all__ = ["PredictionFormat", "detections_to_json", "read_predictions", "write_predictions"]


def read_predictions(path: Path) -> list[ImageDetections]:
    """Reads predictions of any layout that `write_predictions` makes, and folders that hold them.

    A folder may be the output folder of `infer`, a folder with one JSON file an image, or one of WIDER text files.
    COCO results that carry no file name give the image id as the image's name.

    Args:
        path: a file (found out by its content) or a folder.

    Returns:
        One entry an image, in the order of the source, each with its highest score first.

    Raises:
        LabelFormatError: with the place; nothing is dropped in silence.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise LabelFormatError(f"{path}: no such file or folder of predictions")
    if path.suffix.lower() == ".csv":
        return read_prediction_csv(path)
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return read_prediction_json(path)
    raise LabelFormatError(f"{path}: expected a .json, .jsonl or .csv file or a folder of predictions")


def write_predictions(path: Path, images: Iterable[ImageDetections], *, format_name: PredictionFormat) -> None:
    """Writes the predictions of images as they come, holding one at a time; the result appears whole or not at all.

    Args:
        path: the file to write; for `wider` the folder (an old one is replaced if it holds nothing but .txt files).
        images: the images; their file names are distinct.
        format_name: the layout. WIDER files hold no landmarks; COCO results hold no images without faces.

    Raises:
        RetinaFaceError: the folder to write to holds other things.
    """
    if format_name == "wider":
        write_prediction_wider(path, images)
        return
    with atomic_path(path) as temporary:
        FILE_WRITERS[format_name](temporary, images)


def _read_folder(folder: Path) -> list[ImageDetections]:
    """Looks into a folder: an output folder of infer, JSON files an image, or WIDER text files."""
    for name in _OUTPUT_FILES:
        if (folder / name).is_file():
            return read_predictions(folder / name)
    for inner in (folder, folder / "labels"):
        files = sorted(inner.rglob("*.json")) if inner.is_dir() else []
        if files and (inner.name == "labels" or not (folder / "labels").is_dir()):
            return read_prediction_json_folder(files)
    files = sorted(folder.rglob("*.txt"))
    if files:
        return read_prediction_wider(files, root=folder)
    raise LabelFormatError(f"{folder}: holds no predictions: expected predictions.json, or .json or .txt files")
