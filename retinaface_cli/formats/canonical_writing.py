"""Writing our own labels: JSON with one image to a line, and JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from retinaface_cli.faces import NUM_LANDMARKS, FaceLabels, ImageLabels
from retinaface_cli.formats.decimals import number_words, shortest_decimals
from retinaface_cli.formats.flat_labels import flatten_labels
from retinaface_cli.formats.json_text import attribute_texts

_LANDMARKS = "[" + ", ".join(["[%s, %s]"] * NUM_LANDMARKS) + "]"


def write_canonical(path: Path, images: Sequence[ImageLabels]) -> None:
    """Writes a JSON list, one image to a line."""
    text = ",\n".join(_image_lines(images))
    path.write_text(f"[\n{text}\n]\n" if images else "[]\n", encoding="utf-8", newline="\n")


def write_json_lines(path: Path, images: Sequence[ImageLabels]) -> None:
    """Writes one image to a line."""
    path.write_text("".join(f"{line}\n" for line in _image_lines(images)), encoding="utf-8", newline="\n")


def _image_lines(images: Sequence[ImageLabels]) -> Iterator[str]:
    """The JSON object of each image."""
    flat = flatten_labels(images)
    faces = _face_texts(flat.faces)
    for image, start, end in zip(images, (flat.ends - flat.num_faces).tolist(), flat.ends.tolist(), strict=True):
        size = f'"width": {image.width}, "height": {image.height}, ' if image.width and image.height else ""
        name = json.dumps(image.file_name, ensure_ascii=False)
        yield f'{{"file_name": {name}, {size}"annotations": [{", ".join(faces[start:end])}]}}'


def _face_texts(faces: FaceLabels) -> list[str]:
    """The JSON object of each face."""
    words = iter(number_words(shortest_decimals(faces.boxes)))
    boxes = zip(words, words, words, words, strict=True)
    extras = zip(_landmark_texts(faces), _extra_texts(faces), strict=True)
    return [
        f'{{"bbox": [{a}, {b}, {c}, {d}], "landmarks": {landmarks}{extra}}}'
        for (a, b, c, d), (landmarks, extra) in zip(boxes, extras, strict=True)
    ]


def _landmark_texts(faces: FaceLabels) -> list[str]:
    """The five points of each face; `[]` where none is known."""
    texts = ["[]"] * len(faces)
    index = np.flatnonzero(faces.has_landmarks.any(axis=1))
    points = np.where(faces.has_landmarks[index, :, None], shortest_decimals(faces.landmarks[index]), -1.0)
    words = iter(number_words(points))
    for i, group in zip(index.tolist(), zip(*[words] * (2 * NUM_LANDMARKS), strict=True), strict=True):
        texts[i] = _LANDMARKS % group
    return texts


def _extra_texts(faces: FaceLabels) -> list[str]:
    """The optional keys of each face: ignore, and the attributes that are known."""
    texts = attribute_texts(faces.attributes, len(faces))
    for i in np.flatnonzero(faces.ignore).tolist():
        texts[i] = ', "ignore": true' + texts[i]
    return texts
