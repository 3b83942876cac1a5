"""Writing labels as a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retinaface_cli.faces import NUM_LANDMARKS, ImageLabels
from retinaface_cli.formats.csv_columns import HEAD_COLUMNS
from retinaface_cli.formats.decimals import number_words, shortest_decimals
from retinaface_cli.formats.face_table import Float64Array
from retinaface_cli.formats.flat_labels import flatten_labels


def write_csv(path: Path, images: Sequence[ImageLabels]) -> None:
    """Writes a row a face, with what is not known left empty; an image without faces is a row with its name alone."""
    flat = flatten_labels(images)
    faces = flat.faces
    landmarks = shortest_decimals(faces.landmarks).reshape(-1, 2 * NUM_LANDMARKS)
    attributes = [shortest_decimals(values)[:, None] for values in faces.attributes.values()]
    values = np.concatenate([shortest_decimals(faces.boxes), landmarks, faces.ignore[:, None], *attributes], axis=1)
    rows = _rows(values)
    header = (*HEAD_COLUMNS, *faces.attributes)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for image, end, count in zip(images, flat.ends.tolist(), flat.num_faces.tolist(), strict=True):
            head = [image.file_name, str(image.width or ""), str(image.height or "")]
            writer.writerows([*head, *row] for row in rows[end - count : end])
            if not count:
                writer.writerow([*head, *[""] * (len(header) - len(head))])


def _rows(values: Float64Array) -> list[tuple[str, ...]]:
    """The numbers of each row as text, NaN as nothing."""
    known = np.isfinite(values)
    words = iter(number_words(values[known]))
    cells = iter([next(words) if is_known else "" for is_known in known.ravel().tolist()])
    return list(zip(*[cells] * values.shape[1], strict=True))
