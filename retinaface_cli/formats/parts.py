"""Parts of the results of a large run: a row an image, as gzipped JSON Lines or Parquet.

A row holds `name` and `shard` (empty for a file of its own), `width`, `height`, and of its N faces `boxes` (N, 4),
`scores` (N,), `landmarks` (N, 5, 2) and, where they were asked for, `crops`: N JPEG files, in JSON as base64.
"""

from __future__ import annotations

import base64
import gzip
import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from retinaface_cli.errors import LabelFormatError, SettingsError, reason_of
from retinaface_cli.faces import NUM_LANDMARKS, FaceDetections, FloatArray
from retinaface_cli.files.atomic import json_bytes
from retinaface_cli.files.reading import open_text
from retinaface_cli.formats.canonical import as_numbers
from retinaface_cli.formats.reader import SourceHead
from retinaface_cli.formats.table import FaceTable
from retinaface_cli.formats.text import parse_json, shorten
from retinaface_cli.formats.writing import round_coordinates

PartFormat = Literal["jsonl", "parquet"]

PART_SUFFIXES: Mapping[PartFormat, str] = {"jsonl": ".jsonl.gz", "parquet": ".parquet"}
PARTS_FOLDER = "parts"
"""The folder below an output folder that holds nothing but parts."""

_ROWS_AT_ONCE = 1000
"""Rows that are in memory while a Parquet file is written."""

_MAX_PART_BYTES = 1 << 34
_PARQUET_START = b"PAR1"


class ImageRow(NamedTuple):
    """One image of a part.

    Attributes:
        name: of the image; in a shard its path there.
        shard: name of the shard; empty where it is a file of its own.
        size: (height, width) in pixels.
        faces: in pixels of the image.
        crops: a JPEG file of each face; None where they were not asked for.
    """

    name: str
    shard: str
    size: tuple[int, int]
    faces: FaceDetections
    crops: Sequence[bytes] | None = None


AddRow = Callable[[ImageRow], None]


@contextmanager
def write_json_lines_part(path: Path, *, with_crops: bool) -> Iterator[AddRow]:  # noqa: ARG001
    """Gives a function that adds a row to gzipped JSON Lines."""
    with path.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=4, fileobj=file, mtime=0) as packed:

        def add(row: ImageRow) -> None:
            """Writes a line."""
            values = _row_values(row)
            if row.crops is not None:
                values["crops"] = [base64.b64encode(crop).decode() for crop in row.crops]
            packed.write(json_bytes(values))

        yield add


@contextmanager
def write_parquet_part(path: Path, *, with_crops: bool) -> Iterator[AddRow]:
    """Gives a function that adds a row to a Parquet file."""
    pyarrow, parquet = import_pyarrow()
    schema = _parquet_schema(with_crops=with_crops)
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:

        def add(row: ImageRow) -> None:
            """Keeps a row until there are enough to be written together."""
            values = {name: np.asarray(value).tolist() for name, value in _row_values(row).items()}
            rows.append({**values, "crops": row.crops} if with_crops else values)
            if len(rows) == _ROWS_AT_ONCE:
                flush()

        def flush() -> None:
            """Writes the rows that are kept."""
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            rows.clear()

        yield add
        flush()


PART_WRITERS: Mapping[PartFormat, Callable[..., AbstractContextManager[AddRow]]] = {
    "jsonl": write_json_lines_part,
    "parquet": write_parquet_part,
}
"""Format of a part -> what opens a file to write and gives a function that adds a row."""


def import_pyarrow() -> tuple[Any, Any]:
    """The library of Parquet, and its module for files.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise SettingsError("parquet: needs pyarrow: pip install 'retinaface-cli[parquet]'") from None


def _row_values(row: ImageRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "shard": row.shard,
        "width": row.size[1],
        "height": row.size[0],
        "boxes": round_coordinates(row.faces.boxes),
        "scores": row.faces.scores,
        "landmarks": round_coordinates(row.faces.landmarks),
    }


def _parquet_schema(*, with_crops: bool) -> Any:
    pyarrow, _ = import_pyarrow()
    number, text, count = pyarrow.float32(), pyarrow.string(), pyarrow.int32()
    landmarks = pyarrow.list_(pyarrow.list_(number, 2), NUM_LANDMARKS)
    fields = {"name": text, "shard": text, "width": count, "height": count}
    fields |= {"boxes": pyarrow.list_(pyarrow.list_(number, 4)), "scores": pyarrow.list_(number)}
    fields |= {"landmarks": pyarrow.list_(landmarks)}
    if with_crops:
        fields["crops"] = pyarrow.list_(pyarrow.binary())
    return pyarrow.schema(list(fields.items()))


def is_part(source: SourceHead) -> bool:
    """Whether a file is a part, by its beginning."""
    head = source.head[:400]
    return head.startswith(_PARQUET_START) or (head.startswith(b'{"name":') and b'"shard":' in head)


def find_parts(folder: Path) -> list[Path]:
    """The parts in a folder, or in `parts` below it."""
    suffixes = tuple(PART_SUFFIXES.values())
    for inner in (folder / PARTS_FOLDER, folder):
        if inner.is_dir() and (found := [path for path in inner.glob("part-*") if path.name.endswith(suffixes)]):
            return sorted(found, key=lambda path: (len(path.name), path.name))
    return []


def read_parts(files: Sequence[Path]) -> FaceTable:
    """Reads parts; an image's name has its shard in front where another image has the same name.

    Raises:
        LabelFormatError: with the place.
    """
    tables: list[FaceTable] = []
    shards: list[str] = []
    for file in files:
        read = _read_parquet if SourceHead(file).head.startswith(_PARQUET_START) else _read_json_lines
        table, of_images = read(file)
        lines = np.repeat(np.arange(1, len(table) + 1), table.num_faces)
        tables.append(replace(table, sources=[file] * len(table), lines=lines))
        shards += of_images
    joined = FaceTable.concatenate(tables)
    counts = Counter(joined.file_names)
    names = [
        f"{shard}/{name}" if shard and counts[name] > 1 else name
        for name, shard in zip(joined.file_names, shards, strict=True)
    ]
    return replace(joined, file_names=names)


def _read_json_lines(path: Path) -> tuple[FaceTable, list[str]]:
    """The images of a part, and their shards."""
    names, shards, sizes = [], [], []
    faces: list[FaceDetections] = []
    with open_text(path, max_bytes=_MAX_PART_BYTES, error=LabelFormatError) as file:
        for number, line in enumerate(file, 1):
            place = f"{path}:{number}"
            row = parse_json(line.encode("utf-8", "surrogateescape"), place=place)
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise LabelFormatError(f"{place}: expected an image with name, boxes and scores, got {shorten(row)}")
            names.append(row["name"])
            shards.append(str(row.get("shard", "")))
            sizes.append([_as_count(row.get("height")), _as_count(row.get("width"))])
            faces.append(_read_faces(row, place))
    return FaceTable.from_detections(names, faces, image_sizes=sizes), shards


def _read_faces(row: Mapping[str, Any], place: str) -> FaceDetections:
    boxes, landmarks, scores = (row.get(name) for name in ("boxes", "landmarks", "scores"))
    wanted = f"{place}: {shorten(row['name'])}: expected as many boxes, scores and landmarks"
    if not (isinstance(boxes, list) and isinstance(landmarks, list) and isinstance(scores, list)):
        raise LabelFormatError(wanted)
    corners, numbers = as_numbers(boxes, (4,)), as_numbers(scores, ())
    try:
        points = np.array(landmarks, np.float64).reshape(-1, NUM_LANDMARKS, 2)  # null stands for an unknown point
    except (ValueError, TypeError, OverflowError):
        raise LabelFormatError(wanted) from None
    if corners is None or numbers is None or not len(corners) == len(points) == len(numbers):
        raise LabelFormatError(wanted)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is found by the checks
        return FaceDetections(*(array.astype(np.float32) for array in (corners, points, numbers)))


def _as_count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _read_parquet(path: Path) -> tuple[FaceTable, list[str]]:
    """The images of a part, and their shards."""
    pyarrow, parquet = import_pyarrow()
    try:
        content = parquet.read_table(path, columns=list(_parquet_schema(with_crops=False).names))
        content = content.cast(_parquet_schema(with_crops=False))
        lengths = content["scores"].combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        table = FaceTable.from_boxes(
            content["name"].to_pylist(),
            lengths.astype(np.intp),
            _flatten(content, "boxes", 2),
            landmarks=_flatten(content, "landmarks", 3).reshape(-1, NUM_LANDMARKS, 2),
            scores=_flatten(content, "scores", 1),
            image_sizes=np.stack([content["height"].to_numpy(), content["width"].to_numpy()], axis=1),
        )
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise LabelFormatError(f"{path}: cannot be read as a part of results ({reason_of(error)})") from None
    return table, content["shard"].to_pylist()


def _flatten(content: Any, name: str, depth: int) -> FloatArray:
    """The numbers of a column of nested lists."""
    values = content[name].combine_chunks()
    for _ in range(depth):
        values = values.flatten()
    numbers: FloatArray = values.to_numpy(zero_copy_only=False).astype(np.float32)
    return numbers
