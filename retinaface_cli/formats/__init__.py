"""Label and prediction files <-> the types of faces.py, one file a family.

Labels: `read_labels` finds out the format, reads a file or folder and checks every face; `write_labels` writes.
READERS and WRITERS name the formats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.canonical import (
    read_canonical,
    read_json_lines_labels,
    recognizes_canonical,
    recognizes_json_lines,
)
from retinaface_cli.formats.coco import read_coco, recognizes_coco
from retinaface_cli.formats.csv_labels import read_csv, recognizes_csv
from retinaface_cli.formats.face_checks import InvalidPolicy, check_faces
from retinaface_cli.formats.face_table import FaceTable
from retinaface_cli.formats.fddb import read_fddb, recognizes_fddb
from retinaface_cli.formats.image_places import find_image_root, find_images, measure_images, rename_images
from retinaface_cli.formats.label_reader import LabelReader, ReadingOptions
from retinaface_cli.formats.label_set import Finding, LabelSet
from retinaface_cli.formats.label_writing import WRITERS, LabelWriter, write_labels
from retinaface_cli.formats.labelme import read_labelme, recognizes_labelme
from retinaface_cli.formats.pascal_voc import read_voc, recognizes_voc
from retinaface_cli.formats.recognition import recognize_format
from retinaface_cli.formats.repeated import join_repeated
from retinaface_cli.formats.retinaface_text import (
    read_label_txt,
    read_labelv2_txt,
    recognizes_label_txt,
    recognizes_labelv2_txt,
)
from retinaface_cli.formats.wider_folder import read_wider, recognizes_wider
from retinaface_cli.formats.yolo import read_yolo, recognizes_yolo

__all__ = ["READERS", "WRITERS", "Finding", "LabelReader", "LabelSet", "LabelWriter", "read_labels", "write_labels"]


def _single(read: Callable[[Path], FaceTable]) -> Callable[[Path, ReadingOptions], FaceTable]:
    """The reader of a format that is one file and leaves nothing to choose."""
    return lambda path, _: read(path)


READERS: Mapping[str, LabelReader] = {
    "json": LabelReader(
        "retinaface JSON", "a JSON list of images with annotations", recognizes_canonical, _single(read_canonical)
    ),
    "jsonl": LabelReader(
        "retinaface JSON Lines", "an image on each line", recognizes_json_lines, _single(read_json_lines_labels)
    ),
    "retinaface": LabelReader(
        "RetinaFace label.txt", "lines `# path` and `x y w h ...`", recognizes_label_txt, _single(read_label_txt)
    ),
    "scrfd": LabelReader(
        "SCRFD labelv2.txt",
        "lines `# path width height` and `x1 y1 x2 y2 ...`",
        recognizes_labelv2_txt,
        _single(read_labelv2_txt),
    ),
    "fddb": LabelReader("FDDB", "ellipse lists, or a folder of them", recognizes_fddb, read_fddb),
    "wider": LabelReader("WIDER FACE", "its folder, *_bbx_gt.txt or .mat", recognizes_wider, read_wider),
    "labelme": LabelReader("labelme", "JSON with shapes, or a folder of it", recognizes_labelme, read_labelme),
    "coco": LabelReader("COCO", "a JSON object with images and annotations", recognizes_coco, read_coco),
    "voc": LabelReader("Pascal VOC", "XML with <annotation>, or a folder of it", recognizes_voc, read_voc),
    "yolo": LabelReader("YOLO", "a folder of text files, or data.yaml", recognizes_yolo, read_yolo),
    "csv": LabelReader("CSV", "a table with file_name and a box in each row", recognizes_csv, read_csv),
}
"""Format name -> reader; a source is of the first format that recognizes it."""


def read_labels(
    path: Path,
    *,
    format_name: str | None = None,
    split: str | None = None,
    images: Path | None = None,
    classes: Sequence[str] = (),
    invalid: InvalidPolicy = "ignore",
    min_size: float = 0.0,
    measure: bool = False,
    strict: bool = False,
) -> LabelSet:
    """Reads a file or folder of labels and checks every face.

    Args:
        path: file or folder; `.gz` files are unpacked on the fly.
        format_name: a key of READERS; None: found out by looking.
        split: train, val or test, where the source holds several.
        images: folder of the images; None: looked for where the format has it.
        classes: names of the classes that are faces, where the source holds other objects too.
        invalid: what becomes of faces that the source marks as invalid.
        min_size: faces whose shorter side is under this many pixels are ignored.
        measure: whether to read the sizes of the images, where it is known in which folder they lie; those that are
            missing or broken are left out and counted.
        strict: whether any finding is an error.

    Raises:
        LabelFormatError: where, what was found, what was expected.
    """
    name, source = (format_name, path) if format_name else recognize_format(path, READERS, split=split)
    if not source.exists():
        raise LabelFormatError(f"{source}: no such file or folder of labels")
    table = READERS[name].read(source, ReadingOptions(split, images, tuple(classes)))
    table = _place_images(table, source, images=images, split=split, measure=measure)
    checked = check_faces(table, invalid=invalid, min_size=min_size)
    images_found, repeated = join_repeated(checked.images, str(source))
    result = LabelSet(images_found, name, table.image_root, checked.findings + repeated, table.label_files)
    faults = [finding for finding in result.findings if finding.action != "asked"]
    if strict and faults:
        raise LabelFormatError("\n".join(f"{source}: {finding.describe()}" for finding in faults))
    return result


def _place_images(
    table: FaceTable, source: Path, *, images: Path | None, split: str | None, measure: bool
) -> FaceTable:
    """Finds out where the images lie and, if asked, how large they are."""
    if images is not None and table.image_root != images:
        table = rename_images(table, find_images(images, table.file_names))
    elif table.image_root is None:
        table = dataclasses.replace(table, image_root=find_image_root(source, table.file_names, split=split))
    return measure_images(table, table.image_root) if measure and table.image_root is not None else table
