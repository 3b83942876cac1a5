"""Reading of labels and predictions: what all formats have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from retinaface_cli.errors import LabelFormatError, shown
from retinaface_cli.files.listing import exists
from retinaface_cli.files.names import UNPRINTABLE
from retinaface_cli.formats.canonical import read_canonical, read_image_files
from retinaface_cli.formats.checks import InvalidPolicy, check_labels, check_predictions, has_unit_boxes
from retinaface_cli.formats.coco import is_coco_results, parse_results
from retinaface_cli.formats.csv_table import read_csv, recognizes_csv
from retinaface_cli.formats.images import (
    ImagePlace,
    find_image_root,
    find_images,
    join_repeated,
    leave_out_unprintable,
    measure_images,
    rename_images,
)
from retinaface_cli.formats.parts import find_parts, is_part, read_parts
from retinaface_cli.formats.reader import ReadingOptions, SourceHead, walk_files
from retinaface_cli.formats.recognition import READERS, recognize_source
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import read_json, shorten
from retinaface_cli.formats.wider import read_wider_detections
from retinaface_cli.formats.yolo import read_yolo, recognizes_yolo_detections
from retinaface_cli.process import without_garbage_collection

_PREDICTION_FILES = ("predictions.json", "predictions.jsonl", "predictions.csv")


@without_garbage_collection()
def read_labels(
    path: str | Path,
    *,
    format_name: str | None = None,
    split: str | None = None,
    images: str | Path | None = None,
    classes: Sequence[str] = (),
    invalid: InvalidPolicy = "ignore",
    min_size: float = 0.0,
    measure: bool = False,
    strict: bool = False,
) -> FaceTable:
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
        strict: whether any fault is an error.

    Raises:
        LabelFormatError: where, what was found, what was expected.
    """
    if format_name and format_name not in READERS:
        raise LabelFormatError(f"{shown(format_name)}: no format of labels; known: {', '.join(READERS)}")
    options = ReadingOptions(split, None if images is None else Path(images), tuple(classes))
    name, source = (format_name, Path(path)) if format_name else recognize_source(Path(path), split=split)
    if not exists(source):
        raise LabelFormatError(f"{source}: no such file or folder of labels")
    table = leave_out_unprintable(READERS[name].read(source, options), str(source))
    table = replace(_place_images(table, source, options, measure=measure), format_name=name)
    table = join_repeated(check_labels(table, invalid=invalid, min_size=min_size), str(source))
    faults = [finding for finding in table.findings if finding.is_fault]
    if strict and faults:
        raise LabelFormatError("\n".join(f"{path}: {finding.describe()}" for finding in faults))
    return table


def read_labels_with_own_names(path: Path, *, format_name: str | None, images: Path | None) -> FaceTable:
    """Reads labels with the names that they give to images; with those of the image folder only where that fails.

    Raises:
        LabelFormatError: see read_labels.
    """
    try:
        return read_labels(path, format_name=format_name)
    except LabelFormatError:
        if images is None:
            raise
        return read_labels(path, format_name=format_name, images=images)


def _place_images(table: FaceTable, source: Path, options: ReadingOptions, *, measure: bool) -> FaceTable:
    """Finds out where the images lie and, if asked, how large they are."""
    if options.images is not None and table.image_root != options.images:
        table = rename_images(table, find_images(options.images, table.file_names))
    elif table.image_root is None:
        root = find_image_root(source, table.file_names, split=options.split)
        table = table if root is None else rename_images(table, ImagePlace(root))
    is_needed = measure or (has_unit_boxes(table) and bool((table.image_sizes == 0).any()))
    return measure_images(table, table.image_root) if is_needed and table.image_root is not None else table


@without_garbage_collection()
def read_predictions(
    path: str | Path, *, images: Path | None = None, category_ids: Callable[[], Sequence[int | str]] = tuple
) -> FaceTable:
    """Reads the predictions of a detector: ours, COCO results, CSV, WIDER or YOLO text files.

    A folder may be the output folder of `infer`, or hold parts of results, or a JSON or text file an image. COCO
    results that carry no file name give the image id as the image's name.

    Args:
        path: a file (found out by its content) or a folder.
        images: folder of the images, which YOLO and boxes in parts of 1 need.
        category_ids: is asked for COCO results with several categories: which of them are faces.

    Returns:
        The images in the order of the source, the faces of each with the highest score first.

    Raises:
        LabelFormatError: with the place; nothing is dropped in silence.
    """
    path = Path(path)
    if not exists(path):
        raise LabelFormatError(f"{path}: no such file or folder of predictions")
    options = ReadingOptions(images=images, with_scores=True, category_ids=category_ids)
    table = _read_prediction_folder(path, options) if path.is_dir() else _read_prediction_file(path, options)
    if images is not None and has_unit_boxes(table):
        table = measure_images(rename_images(table, find_images(images, table.file_names)), images)
    seen: set[str] = set()
    for name, source in zip(table.file_names, table.sources, strict=True):
        if name in seen:
            raise LabelFormatError(f"{source}: image {name} appears a second time")
        if UNPRINTABLE.search(name):
            got = shorten(name)
            raise LabelFormatError(f"{source}: expected the name of an image on one line of UTF-8 text, got {got}")
        seen.add(name)
    return check_predictions(table)


@without_garbage_collection()
def read_label_files(paths: Iterable[Path]) -> FaceTable:
    """Reads the files of one image each that `infer` writes, as read_predictions does.

    Raises:
        LabelFormatError: a file is missing, or another one.
    """
    return check_predictions(read_image_files(paths, ReadingOptions(with_scores=True)))


def _read_prediction_folder(folder: Path, options: ReadingOptions) -> FaceTable:
    """Looks into a folder: an output folder of infer, parts, JSON files an image, or WIDER or YOLO text files."""
    for name in _PREDICTION_FILES:
        if (folder / name).is_file():
            return _read_prediction_file(folder / name, options)
    if parts := find_parts(folder):
        return read_parts(parts)
    for inner in (folder, folder / "labels"):
        files = list(walk_files(inner, ".json")) if inner.is_dir() else []
        if files and (inner.name == "labels" or not (folder / "labels").is_dir()):
            return read_image_files(files, options)
    files = list(walk_files(folder, ".txt"))
    if recognizes_yolo_detections(files):
        return read_yolo(folder, options)
    if files:
        return read_wider_detections(files, folder, options)
    raise LabelFormatError(f"{folder}: holds no predictions: expected predictions.json, parts, or .json or .txt files")


def _read_prediction_file(path: Path, options: ReadingOptions) -> FaceTable:
    """One file, by its content."""
    source = SourceHead(path)
    if not source.head:
        raise LabelFormatError(f"{path}: the file is empty")
    if is_part(source):
        return read_parts([path])
    if source.head.startswith(b"{"):
        return read_canonical(path, options)
    if source.head.startswith(b"["):
        return _read_prediction_list(path, options)
    if recognizes_csv(source):
        return read_csv(path, options)
    if path.suffix.lower() == ".txt":
        return read_wider_detections([path], path.parent, options)
    raise LabelFormatError(f"{path}: expected a .json, .jsonl or .csv file or a folder of predictions")


def _read_prediction_list(path: Path, options: ReadingOptions) -> FaceTable:
    """A JSON list: images, or COCO results."""
    if b'"image_id"' in SourceHead(path).head[:2000]:
        values = read_json(path)
        if is_coco_results(values):
            return parse_results(values, path, options)
        if any(is_coco_results([value]) for value in values):
            raise LabelFormatError(f"{path}: mixes images with COCO results; expected one or the other")
    return read_canonical(path, options)
