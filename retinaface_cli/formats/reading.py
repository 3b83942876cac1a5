"""Reading of labels and predictions: the formats, how one is told from the other, and what all have in common."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.canonical import (
    parse_images,
    read_canonical,
    read_image_files,
    read_json_lines,
    recognizes_canonical,
    recognizes_json_lines,
)
from retinaface_cli.formats.checks import InvalidPolicy, check_labels, check_predictions, has_unit_boxes
from retinaface_cli.formats.coco import is_coco_results, parse_results, read_coco, recognizes_coco
from retinaface_cli.formats.csv_table import read_csv, recognizes_csv
from retinaface_cli.formats.fddb import read_fddb, recognizes_fddb
from retinaface_cli.formats.images import (
    ImagePlace,
    find_image_root,
    find_images,
    join_repeated,
    measure_images,
    rename_images,
)
from retinaface_cli.formats.labelme import read_labelme, recognizes_labelme
from retinaface_cli.formats.pascal_voc import read_voc, recognizes_voc
from retinaface_cli.formats.reader import (
    SPLIT_NAMES,
    LabelReader,
    ReadingOptions,
    SourceHead,
    exists,
    walk_files,
)
from retinaface_cli.formats.retinaface_text import (
    read_label_txt,
    read_labelv2_txt,
    recognizes_label_txt,
    recognizes_labelv2_txt,
)
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import read_json, shorten
from retinaface_cli.formats.wider import read_wider, read_wider_detections, recognizes_wider
from retinaface_cli.formats.yolo import read_yolo, recognizes_yolo, recognizes_yolo_detections

READERS: Mapping[str, LabelReader] = {
    "json": LabelReader(
        "retinaface JSON", "a JSON list of images with annotations", recognizes_canonical, read_canonical
    ),
    "jsonl": LabelReader("retinaface JSON Lines", "an image on each line", recognizes_json_lines, read_json_lines),
    "retinaface": LabelReader(
        "RetinaFace label.txt", "lines `# path` and `x y w h ...`", recognizes_label_txt, read_label_txt
    ),
    "scrfd": LabelReader(
        "SCRFD labelv2.txt",
        "lines `# path width height` and `x1 y1 x2 y2 ...`",
        recognizes_labelv2_txt,
        read_labelv2_txt,
    ),
    "fddb": LabelReader("FDDB", "ellipse lists, or a folder of them", recognizes_fddb, read_fddb),
    "wider": LabelReader("WIDER FACE", "its folder, *_bbx_gt.txt or .mat", recognizes_wider, read_wider),
    "labelme": LabelReader("labelme", "JSON with shapes, or a folder of it", recognizes_labelme, read_labelme),
    "coco": LabelReader("COCO", "a JSON object with images and annotations", recognizes_coco, read_coco),
    "voc": LabelReader("Pascal VOC", "XML with <annotation>, or a folder of it", recognizes_voc, read_voc),
    "yolo": LabelReader("YOLO", "a folder of text files, or data.yaml", recognizes_yolo, read_yolo),
    "csv": LabelReader("CSV", "a table with file_name and a box in each row", recognizes_csv, read_csv),
}
"""Format name -> reader; a source of labels is of the first format that recognizes it."""

_OTHER_TOOLS = (
    (rb"<annotations>.*<image |<annotations>\s*<version>", "CVAT's own XML; export `COCO Keypoints 1.0` or `YOLO`"),
    (rb"<dataset>.*<images>", "dlib's XML; convert it with imglab to Pascal VOC, or export COCO"),
    (rb'"_via_|"via_|"region_attributes"', "VIA's project; export annotations as COCO format"),
    (rb'"from_name"|"rectanglelabels"', "Label Studio's own JSON; export `COCO` or `YOLO`"),
)
"""What files of annotation tools look like that are not read, and which export to choose."""

_PREDICTION_FILES = ("predictions.json", "predictions.jsonl", "predictions.csv")


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
    with _without_garbage_collection():
        table = _read_and_check(
            path,
            ReadingOptions(split, images, tuple(classes)),
            format_name,
            invalid=invalid,
            min_size=min_size,
            measure=measure,
        )
    faults = [finding for finding in table.findings if finding.is_fault]
    if strict and faults:
        raise LabelFormatError("\n".join(f"{path}: {finding.describe()}" for finding in faults))
    return table


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Millions of values that are all in use are not searched for cycles, which takes longer than to read them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_and_check(
    path: Path,
    options: ReadingOptions,
    format_name: str | None,
    *,
    invalid: InvalidPolicy,
    min_size: float,
    measure: bool,
) -> FaceTable:
    """Reads a source and checks it; see read_labels."""
    split, images = options.split, options.images
    name, source = (format_name, path) if format_name else _recognize_source(path, split=split)
    if not exists(source):
        raise LabelFormatError(f"{source}: no such file or folder of labels")
    table = READERS[name].read(source, options)
    table = replace(_place_images(table, source, images=images, split=split, measure=measure), format_name=name)
    return join_repeated(check_labels(table, invalid=invalid, min_size=min_size), str(source))


def _place_images(
    table: FaceTable, source: Path, *, images: Path | None, split: str | None, measure: bool
) -> FaceTable:
    """Finds out where the images lie and, if asked, how large they are."""
    if images is not None and table.image_root != images:
        table = rename_images(table, find_images(images, table.file_names))
    elif table.image_root is None:
        root = find_image_root(source, table.file_names, split=split)
        table = table if root is None else rename_images(table, ImagePlace(root))
    return measure_images(table, table.image_root) if measure and table.image_root is not None else table


def read_predictions(
    path: Path, *, images: Path | None = None, category_ids: Callable[[], Sequence[int | str]] = tuple
) -> FaceTable:
    """Reads the predictions of a detector: ours, COCO results, CSV, WIDER or YOLO text files.

    A folder may be the output folder of `infer`, or hold a JSON or text file an image. COCO results that carry no file
    name give the image id as the image's name.

    Args:
        path: a file (found out by its content) or a folder.
        images: folder of the images, which YOLO and boxes in parts of 1 need.
        category_ids: is asked for COCO results with several categories: which of them are faces.

    Returns:
        The images in the order of the source, the faces of each with the highest score first.

    Raises:
        LabelFormatError: with the place; nothing is dropped in silence.
    """
    if not exists(path):
        raise LabelFormatError(f"{path}: no such file or folder of predictions")
    options = ReadingOptions(images=images, with_scores=True, category_ids=category_ids)
    with _without_garbage_collection():
        table = _read_prediction_folder(path, options) if path.is_dir() else _read_prediction_file(path, options)
    if images is not None and has_unit_boxes(table):
        table = measure_images(rename_images(table, find_images(images, table.file_names)), images)
    seen: set[str] = set()
    for i, name in enumerate(table.file_names):
        if name in seen:
            raise LabelFormatError(f"{table.sources[i]}: image {name} appears a second time")
        seen.add(name)
    return check_predictions(table)


def _read_prediction_folder(folder: Path, options: ReadingOptions) -> FaceTable:
    """Looks into a folder: an output folder of infer, JSON files an image, or WIDER or YOLO text files."""
    for name in _PREDICTION_FILES:
        if (folder / name).is_file():
            return _read_prediction_file(folder / name, options)
    for inner in (folder, folder / "labels"):
        files = list(walk_files(inner, ".json")) if inner.is_dir() else []
        if files and (inner.name == "labels" or not (folder / "labels").is_dir()):
            return read_image_files(files, options)
    files = list(walk_files(folder, ".txt"))
    if recognizes_yolo_detections(files):
        return read_yolo(folder, options)
    if files:
        return read_wider_detections(files, folder, options)
    raise LabelFormatError(f"{folder}: holds no predictions: expected predictions.json, or .json or .txt files")


def _read_prediction_file(path: Path, options: ReadingOptions) -> FaceTable:
    """One file, by its content."""
    source = SourceHead(path)
    if not source.head:
        raise LabelFormatError(f"{path}: the file is empty")
    if source.head.startswith(b"{"):
        return read_json_lines(path, options)
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
        return parse_images(values, path, options)
    return read_canonical(path, options)


def _recognize_source(path: Path, *, split: str | None) -> tuple[str, Path]:
    """The format of labels, and the path to read: the source itself, or the only label file of a folder.

    Args:
        path: a file or folder.
        split: train, val or test; of several label files in a folder the one that has it in its path is meant.

    Raises:
        LabelFormatError: there is no such source, or no format fits; the message says what was looked for and found.
    """
    if not exists(path):
        raise LabelFormatError(f"{path}: no such file or folder of labels")
    source = SourceHead(path)
    name = _recognize(source)
    if name is not None:
        return name, path
    if path.is_dir():
        inner = {file: found for file in _label_files(path) if (found := _recognize(SourceHead(file)))}
        names = SPLIT_NAMES.get(split or "", ())
        of_split = [file for file in inner if {*names} & {*re.split("[^a-z]+", str(file.relative_to(path)).lower())}]
        inner = {file: inner[file] for file in of_split} or inner
        if len(inner) == 1:
            file, name = next(iter(inner.items()))
            return name, file
        if inner:
            files = ", ".join(file.relative_to(path).as_posix() for file in list(inner)[:6])
            raise LabelFormatError(f"{path}: holds {len(inner)} label files; name one of them, or --split: {files}")
    looked = "\n".join(f"  {name}: {reader.title}: {reader.look}" for name, reader in READERS.items())
    raise LabelFormatError(
        f"{path}: the format of these labels is not known; found {_describe(source)}\n"
        f"name the format with --from, or give one of these:\n{looked}"
    )


def _recognize(source: SourceHead) -> str | None:
    """The first format that fits."""
    if not source.is_folder and not source.head:
        raise LabelFormatError(f"{source.path}: the file is empty")
    for pattern, advice in _OTHER_TOOLS:
        if re.search(pattern, source.head[:4096], re.DOTALL):
            raise LabelFormatError(f"{source.path}: this is {advice}")
    return next((name for name, reader in READERS.items() if reader.recognizes(source)), None)


def _label_files(folder: Path) -> list[Path]:
    """Files of a folder, and of those directly below it, that may hold labels of a whole set."""
    suffixes = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".mat", ".gz", ".xml")
    found = (file for file in walk_files(folder, *suffixes) if len(file.relative_to(folder).parts) <= 2)
    return [file for file in islice(found, 200) if file.is_file() and file.stat().st_size]


def _describe(source: SourceHead) -> str:
    """What the source holds, in a few words."""
    if source.is_folder:
        listed = ", ".join(file.relative_to(source.path).as_posix() for file in source.files[:6])
        return f"a folder with {listed or 'no files but images'}{', ...' if len(source.files) > 6 else ''}"
    start = source.head[:60]
    if b"\0" in start:
        return f"a binary file that begins with {start[:16]!r}"
    return f"text that begins with {shorten(start.decode('utf-8', errors='replace').splitlines()[0])}"
