"""Predictions as a table: one face to a row, an image without faces as a row with its name alone."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import LANDMARK_NAMES, ImageDetections
from retinaface_cli.formats.prediction_values import (
    FloatValues,
    build_faces,
    decimal_faces,
    landmark_array,
    relative_name,
    sized,
)

BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
POINT_COLUMNS = tuple(f"{name}_{axis}" for name in LANDMARK_NAMES for axis in "xy")
COLUMNS = ("file_name", "width", "height", *BOX_COLUMNS, "score", *POINT_COLUMNS)


def write_prediction_csv(path: Path, images: Iterable[ImageDetections]) -> None:
    """Writes the table with a header; what is not known is left empty."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image in images:
            head: list[str | float] = [image.file_name, image.width or "", image.height or ""]
            for box, score, landmarks in zip(*decimal_faces(image.faces), strict=True):
                points: list[str | float] = [value for point in landmarks for value in point]
                writer.writerow([*head, *box, score, *(points or [""] * len(POINT_COLUMNS))])
            if len(image.faces) == 0:
                writer.writerow([*head, *[""] * (len(COLUMNS) - len(head))])


def read_prediction_csv(path: Path) -> list[ImageDetections]:
    """Reads a table with the columns file_name, x_min, y_min, x_max, y_max and score; the others may be absent.

    Raises:
        LabelFormatError: with file and line.
    """
    rows: dict[str, list[tuple[int, dict[str, str]]]] = {}
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, restval="")
        missing = [name for name in ("file_name", *BOX_COLUMNS, "score") if name not in (reader.fieldnames or ())]
        if missing:
            raise LabelFormatError(f"{path}:1: expected a header with {', '.join(missing)}, got {reader.fieldnames}")
        try:
            for row in reader:
                name = relative_name(row["file_name"], f"{path}:{reader.line_num}")
                rows.setdefault(name, []).append((reader.line_num, row))
        except csv.Error as error:
            raise LabelFormatError(f"{path}:{reader.line_num}: {error}") from None
    return [_image(name, group, path) for name, group in rows.items()]


def _image(name: str, rows: list[tuple[int, dict[str, str]]], path: Path) -> ImageDetections:
    """One image from its rows."""
    faces = [(number, row) for number, row in rows if any(row[key].strip() for key in (*BOX_COLUMNS, "score"))]
    place = f"{path}:{rows[0][0]}"
    width, height = sized(_size(rows[0][1]), place)
    boxes = [_numbers(row, BOX_COLUMNS, f"{path}:{number}") for number, row in faces]
    scores = [_numbers(row, ("score",), f"{path}:{number}")[0] for number, row in faces]
    points = [
        _numbers(row, POINT_COLUMNS, f"{path}:{number}") if all(row.get(key) for key in POINT_COLUMNS) else ()
        for number, row in faces
    ]
    detections = build_faces(_array(boxes, 4), _array(scores, 1)[:, 0], landmark_array(points, place), place=place)
    return ImageDetections(name, detections, width, height)


def _size(row: dict[str, str]) -> dict[str, int]:
    return {key: int(row[key]) for key in ("width", "height") if row.get(key, "").isdecimal()}


def _numbers(row: dict[str, str], keys: tuple[str, ...], place: str) -> list[float]:
    """The values of some columns."""
    try:
        return [float(row[key]) for key in keys]
    except ValueError:
        found = ", ".join(row[key] for key in keys)
        raise LabelFormatError(f"{place}: expected numbers in {', '.join(keys)}, got {found[:80]!r}") from None


def _array(values: list[list[float]] | list[float], num_columns: int) -> FloatValues:
    return np.array(values, np.float64).reshape(-1, num_columns)
