"""Label and prediction files with wrong bytes: read, or refused with one message; never a traceback, never a hang."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import (
    FaceTable,
    PredictionFormat,
    read_labels,
    read_predictions,
    write_labels,
    write_predictions,
)
from tests.formats.label_samples import HEIGHT, NAMES, SOURCES, WIDTH, write_images, write_text
from tests.fuzz.mutation import contents, is_refused, mutated_files, numbers_of_cases

TEXT_SUFFIXES = (".json", ".jsonl", ".txt", ".csv", ".xml", ".yaml", ".mat")


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


def check(read: Callable[[Path], FaceTable], source: Path, folder: Path, count: int) -> None:
    """Reads the source while one of its files is wrong; nothing else may change in the folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in TEXT_SUFFIXES and path.is_file()]
    before = contents(folder.parent)

    def read_and_check() -> None:
        table = read(source)
        assert np.isfinite(table.boxes).all()
        assert all(finding.reason.isprintable() for finding in table.findings)

    for _ in mutated_files(files, f"{folder.name} {count}", count):
        is_refused(read_and_check)
    assert contents(folder.parent) == before


def read_checked_labels(source: Path, *, format_name: str | None) -> FaceTable:
    """The labels, which are valid and can be written, or an error with its place."""
    try:
        labels = read_labels(source, format_name=format_name)
    except LabelFormatError as error:
        assert str(error).startswith(str(source.parent))
        raise
    boxes = labels.boxes
    assert all(labels.file_names)
    assert (boxes >= 0).all() and (boxes[:, :2] <= boxes[:, 2:]).all()
    assert (labels.ignore | (boxes[:, :2] < boxes[:, 2:]).all(axis=1)).all()
    sizes = np.repeat(labels.image_sizes, labels.num_faces, axis=0)
    assert ((boxes[:, 2:] <= sizes[:, ::-1]) | (sizes == 0).any(axis=1)[:, None]).all()
    assert (np.isfinite(labels.landmarks) == labels.has_landmarks[:, :, None]).all()
    with TemporaryDirectory() as name:
        write_labels(Path(name) / "out.json", labels)
        assert read_labels(Path(name) / "out.json").num_faces.tolist() == labels.num_faces.tolist()
    return labels


@numbers_of_cases(25)
@pytest.mark.parametrize("is_named", [False, True])
@pytest.mark.parametrize("name", SOURCES)
def test_labels_with_wrong_bytes_are_valid_or_refused(name: str, is_named: bool, tmp_path: Path, count: int) -> None:
    read = partial(read_checked_labels, format_name=name.split("_")[0] if is_named else None)
    check(read, SOURCES[name](tmp_path / name), tmp_path / name, count)


@pytest.mark.parametrize("name", SOURCES)
@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_valid_labels_or_refused(name: str, data: bytes) -> None:
    with TemporaryDirectory() as folder:
        source = SOURCES[name](Path(folder) / name)
        path = source if source.is_file() else next(path for path in source.rglob("a.*") if path.suffix != ".jpg")
        path.write_bytes(data)
        is_refused(lambda: read_checked_labels(source, format_name=name.split("_")[0]))


@numbers_of_cases(25)
@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_with_wrong_bytes_are_read_or_refused(name: str, tmp_path: Path, count: int) -> None:
    check(read_predictions, PREDICTIONS[name](tmp_path / name), tmp_path / name, count)
