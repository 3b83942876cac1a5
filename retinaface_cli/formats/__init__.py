"""Label and prediction files <-> the types of faces.py, one file a family.

Labels: `read_labels` finds out the format, reads a file or folder and checks every face; `write_labels` writes.
READERS and WRITERS name the formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import ImageLabels
from retinaface_cli.files import atomic_path
from retinaface_cli.formats.canonical import read_canonical, read_json_lines_labels
from retinaface_cli.formats.canonical_writing import write_canonical, write_json_lines
from retinaface_cli.formats.face_checks import InvalidPolicy, check_faces
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.label_set import Finding, LabelSet
from retinaface_cli.formats.retinaface_text import read_label_txt, read_labelv2_txt
from retinaface_cli.formats.wider_ground_truth import read_wider_mat
from retinaface_cli.formats.wider_text import read_wider_text

__all__ = ["READERS", "WRITERS", "Finding", "LabelSet", "read_labels", "write_labels"]

READERS: Mapping[str, Callable[[Path], FaceTable]] = {
    "json": read_canonical,
    "jsonl": read_json_lines_labels,
    "retinaface": read_label_txt,
    "scrfd": read_labelv2_txt,
    "wider": read_wider_text,
    "wider-mat": read_wider_mat,
}

WRITERS: Mapping[str, Callable[[Path, Sequence[ImageLabels]], None]] = {
    "json": write_canonical,
    "jsonl": write_json_lines,
}


def read_labels(
    path: Path, *, format_name: str | None = None, invalid: InvalidPolicy = "ignore", min_size: float = 0.0
) -> LabelSet:
    """Reads labels and checks every face; see check_faces for invalid and min_size."""
    table = READERS[format_name or _guess(path)](path)
    checked = check_faces(table, invalid=invalid, min_size=min_size)
    return LabelSet(checked.images, table.format_name, table.image_root, checked.findings)


def write_labels(path: Path, images: Sequence[ImageLabels], *, format_name: str | None = None) -> None:
    """Writes labels, whole or not at all."""
    with atomic_path(path) as temporary:
        WRITERS[format_name or path.suffix.lstrip(".").lower()](temporary, images)


def _guess(path: Path) -> str:
    names = {".json": "json", ".jsonl": "jsonl", ".mat": "wider-mat"}
    if path.suffix in names:
        return names[path.suffix]
    try:
        with path.open(encoding="utf-8") as file:
            return "retinaface" if file.read(1) == "#" else "wider"
    except OSError as error:
        raise LabelFormatError(f"{path}: cannot be read: {error}") from None
