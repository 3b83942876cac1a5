"""Label and prediction files with wrong bytes: read, or refused with one message; never a traceback, never a hang."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import FaceTable, PredictionFormat, read_labels, read_predictions, write_predictions
from tests.golden.label_sources import HEIGHT, NAMES, SOURCES, WIDTH, write_images, write_text

NUM_SHORT, NUM_LONG = 40, 5000
TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".csv", ".xml", ".yaml", ".mat")
TOKENS = (
    *(b"NaN", b"-1", b"1e999", b"1e30", b"9" * 400, b"null", b"true", b'""', b"[]", b"{}", b"\0", b"\xff\xfe", b"\n"),
    *(b"\r", b",", b"\t", b"#", b"../../x", b"/", b"\xf0\x9f\x98\x80", b"\\ud800", b"[" * 3000, b"<a>", b"&x;", b"0x1"),
    *(b"!!int ''", b"2020-01-01", b"*a", b" " * 50, b"\x1b[31m", b"1_0", b"\xe2\x80\xa8", b"Infinity", b"-0", b"1.5.2"),
)


def write_wider(folder: Path) -> Path:
    points = " 1 2 3 4 5 6 7 8 9 10"
    write_text(folder / "0--Parade/a.txt", f"{NAMES[0]}\n2\n10 20 30 40 0.9{points}\n50 10 8 11 0.5{points}\n")
    write_text(folder / "1--Handshaking/b.txt", "b\n0\n0 0 0 0 0\n")
    return folder


def write_yolo_detections(folder: Path) -> Path:
    write_text(folder / "labels/0--Parade/a.txt", "0 0.25 0.5 0.3 0.5 0.9\n0 0.5 0.5 0.1 0.2 0.25\n")
    write_images(folder / "images")
    return folder


def write_coco_results(folder: Path) -> Path:
    face = '{"image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5, "keypoints": []}'
    return write_text(folder / "results.json", f"[{face},\n{face}]")


def written(format_name: PredictionFormat, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        landmarks = np.full((2, 5, 2), np.nan, np.float32)
        landmarks[0] = 20
        boxes = np.array([[10, 20, 40.5, 60], [50, 10, 58, 21]], np.float32)
        faces = FaceDetections(boxes, landmarks, np.array([0.9, 0.25], np.float32))
        table = FaceTable.from_detections(NAMES, [faces, FaceDetections.empty()], image_sizes=[[HEIGHT, WIDTH]] * 2)
        write_predictions(folder / name, table, format_name=format_name)
        return folder / name

    return write


PREDICTIONS: Mapping[str, Callable[[Path], Path]] = {
    "json": written("json", "p.json"),
    "jsonl": written("jsonl", "p.jsonl"),
    "csv": written("csv", "p.csv"),
    "coco": write_coco_results,
    "wider": write_wider,
    "yolo": write_yolo_detections,
}


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The data with a few bytes or tokens changed, cut, doubled or left out."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 40)))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + chance.choice(TOKENS) + data[end:]
        elif kind == 2:
            data = data[:at] + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:end] * 3 + data[end:]
        else:
            data = data[:at] if chance.random() < 0.3 else data[:at] + data[at:end][::-1] + data[end:]
    return data


def mutated_sources(write: Callable[[Path], Path], folder: Path, count: int) -> Iterator[Path]:
    """The source, again and again with another of its files changed."""
    source = write(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in TEXT_SUFFIXES and path.is_file()]
    originals = {path: path.read_bytes() for path in files}
    chance = random.Random(f"{folder.name} {count}")  # the same in every run
    for _ in range(count):
        path = chance.choice(files)
        path.write_bytes(mutate(originals[path], chance))
        yield source
        path.write_bytes(originals[path])


def check(read: Callable[[Path], FaceTable], sources: Iterator[Path]) -> None:
    for source in sources:
        try:
            table = read(source)
        except RetinaFaceError as error:
            text = str(error).replace("\n", "")
            assert text.isprintable()
            assert len(text) < 3000
        else:
            assert np.isfinite(table.boxes).all()
            assert all(str(name).isprintable() for finding in table.findings for name in (finding.reason,))


@pytest.mark.parametrize("name", SOURCES)
def test_labels_with_wrong_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    check(read_labels, mutated_sources(SOURCES[name], tmp_path / name, NUM_SHORT))


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_with_wrong_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    check(read_predictions, mutated_sources(PREDICTIONS[name], tmp_path / name, NUM_SHORT))


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_many_labels_with_wrong_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    check(read_labels, mutated_sources(SOURCES[name], tmp_path / name, NUM_LONG))


@pytest.mark.slow
@pytest.mark.parametrize("name", PREDICTIONS)
def test_many_predictions_with_wrong_bytes_are_read_or_refused(name: str, tmp_path: Path) -> None:
    check(read_predictions, mutated_sources(PREDICTIONS[name], tmp_path / name, NUM_LONG))
