"""JSON files of labels: parsed with the place of an error, numbers taken from them in bulk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.decimals import number_words, shortest_decimals
from retinaface_cli.formats.face_table import Float64Array
from retinaface_cli.formats.text_lines import read_bytes


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        LabelFormatError: it cannot be read or is no JSON; the message names the line.
    """
    return parse_json(read_bytes(path), str(path))


def parse_json(text: bytes, place: str) -> Any:
    """The value that JSON text stands for; `place` is named in the error.

    Raises:
        LabelFormatError: the text is no JSON.
    """
    try:
        return from_json(text)
    except ValueError as error:
        raise LabelFormatError(f"{place}: not valid JSON: {error}") from None


def read_json_lines(path: Path) -> list[tuple[int, Any]]:
    """The values of a JSON Lines file, each with its line counted from 1; blank lines are passed over.

    Raises:
        LabelFormatError: a line is no JSON.
    """
    lines = read_bytes(path).split(b"\n")
    return [(i, parse_json(line, f"{path}:{i}")) for i, line in enumerate(lines, 1) if line.strip()]


def as_numbers(values: Sequence[Any], shape: tuple[int, ...]) -> Float64Array | None:
    """The values as one array of (len(values), *shape), or None if they are anything but numbers in that shape."""
    if not values:
        return np.zeros((0, *shape))
    try:
        array = np.array(values)
    except (ValueError, OverflowError, TypeError):
        return None
    if array.dtype.kind not in "iuf" or array.shape[1:] != shape:
        return None
    return array.astype(np.float64, copy=False)


def attribute_texts(attributes: Mapping[str, FloatArray], num_faces: int) -> list[str]:
    """For each face `, "attributes": {...}` with those that are known, or nothing; to stand behind other keys."""
    texts = [""] * num_faces
    if not attributes:
        return texts
    known = np.stack([np.isfinite(values) for values in attributes.values()], axis=1)  # (N, K)
    _, first, group_of = np.unique(np.packbits(known, axis=1), axis=0, return_index=True, return_inverse=True)
    for group, example in enumerate(first.tolist()):
        index = np.flatnonzero(group_of.ravel() == group)
        if not known[example].any():
            continue
        chosen = [(name, values) for (name, values), has in zip(attributes.items(), known[example], strict=True) if has]
        keys = [json.dumps(name, ensure_ascii=False).replace("%", "%%") for name, _ in chosen]
        template = ', "attributes": {' + ", ".join(f"{key}: %s" for key in keys) + "}"
        words = zip(*(number_words(shortest_decimals(values[index])) for _, values in chosen), strict=True)
        for i, numbers in zip(index.tolist(), words, strict=True):
            texts[i] = template % numbers
    return texts
