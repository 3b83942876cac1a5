"""The formats of labels, and how one is told from the others by the beginning of the source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.files.listing import exists
from retinaface_cli.formats.canonical import read_canonical
from retinaface_cli.formats.coco import read_coco
from retinaface_cli.formats.csv_table import read_csv, recognizes_csv
from retinaface_cli.formats.fddb import read_fddb, recognizes_fddb
from retinaface_cli.formats.labelme import read_labelme
from retinaface_cli.formats.pascal_voc import read_voc
from retinaface_cli.formats.reader import SPLIT_NAMES, LabelReader, SourceHead, begins, walk_files
from retinaface_cli.formats.retinaface_text import has_sizes_in_header, read_label_txt, read_labelv2_txt
from retinaface_cli.formats.text import shorten
from retinaface_cli.formats.wider import read_wider, recognizes_wider
from retinaface_cli.formats.yolo import read_yolo, recognizes_yolo

_COCO_KEYS = rb'"(images|annotations|categories|info|licenses)"'

READERS: Mapping[str, LabelReader] = {
    "json": LabelReader(
        "retinaface JSON", "a JSON list of images with annotations", begins(rb"\[\s*[{\]]"), read_canonical
    ),
    "jsonl": LabelReader(  # where the file has one image alone, it may be spread over lines
        "retinaface JSON Lines",
        "an image on each line",
        begins(rb'\{(?!.{0,4090}"images").{0,4090}?"file_name"'),
        read_canonical,
    ),
    "retinaface": LabelReader(
        "RetinaFace label.txt",
        "lines `# path` and `x y w h ...`",
        lambda source: source.head.startswith(b"#") and not has_sizes_in_header(source.lines[0]),
        read_label_txt,
    ),
    "scrfd": LabelReader(
        "SCRFD labelv2.txt", "lines `# path width height` and `x1 y1 x2 y2 ...`", begins(rb"#"), read_labelv2_txt
    ),
    "fddb": LabelReader("FDDB", "ellipse lists, or a folder of them", recognizes_fddb, read_fddb),
    "wider": LabelReader("WIDER FACE", "its folder, *_bbx_gt.txt or .mat", recognizes_wider, read_wider),
    "labelme": LabelReader(
        "labelme", "JSON with shapes, or a folder of it", begins(rb'\{.*"shapes"', suffix=".json"), read_labelme
    ),
    "coco": LabelReader(
        "COCO",
        "a JSON object with images and annotations",
        begins(rb'\{(?!\s*"file_name").*' + _COCO_KEYS),
        read_coco,
    ),
    "voc": LabelReader(
        "Pascal VOC",
        "XML with <annotation>, or a folder of it",
        begins(rb"(?=<).{0,4096}?<annotation[ >]", suffix=".xml"),
        read_voc,
    ),
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
"""How files of annotation tools begin that are not read, and which export to choose."""


def recognize_source(path: Path, *, split: str | None) -> tuple[str, Path]:
    """The format of labels, and the path to read: the source itself, or the only label file of a folder.

    Args:
        path: a file or folder.
        split: train, val or test; of several label files in a folder the one that has it in its path is meant.

    Raises:
        LabelFormatError: the source does not exist, or no format fits; the message says what was looked for and found.
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
    looked = "\n".join(f"  {name}: {reader.title}: {reader.layout}" for name, reader in READERS.items())
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
