"""Parts of results: rows of JSON Lines and Parquet."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import read_predictions
from retinaface_cli.formats.parts import PART_SUFFIXES, PART_WRITERS, ImageRow, PartFormat

FORMATS: list[PartFormat] = ["jsonl", "parquet"]


def make_faces(number: int, *, seed: int = 0) -> FaceDetections:
    chance = np.random.default_rng(seed)
    corners = chance.uniform(0, 50, (number, 2))
    boxes = np.concatenate([corners, corners + chance.uniform(1, 50, (number, 2))], axis=1)
    scores = np.sort(chance.uniform(0, 1, number))[::-1]
    as_float = [array.astype(np.float32) for array in (boxes, chance.uniform(0, 99, (number, 5, 2)), scores)]
    return FaceDetections(*as_float)


ROWS = [
    ImageRow("a/x.jpg", "000.tar", (120, 100), make_faces(2, seed=1)),
    ImageRow("y.jpg", "000.tar", (120, 100), make_faces(0)),
    ImageRow("ü z.jpg", "", (90, 80), make_faces(3, seed=2)),
]


def write_part(path: Path, rows: list[ImageRow], kind: PartFormat, *, with_crops: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with PART_WRITERS[kind](path, with_crops=with_crops) as add:
        for row in rows:
            add(row)
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_come_back_as_they_were_written(tmp_path: Path, kind: PartFormat) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    write_part(tmp_path / "out" / "parts" / f"part-00000{PART_SUFFIXES[kind]}", ROWS[:1], kind)
    write_part(tmp_path / "out" / "parts" / f"part-00001{PART_SUFFIXES[kind]}", [], kind)
    single = write_part(tmp_path / "out" / "parts" / f"part-00002{PART_SUFFIXES[kind]}", ROWS[1:], kind)
    for place, rows in ((tmp_path / "out", ROWS), (tmp_path / "out" / "parts", ROWS), (single, ROWS[1:])):
        images = read_predictions(place).detection_images()
        assert [image.file_name for image in images] == [row.name for row in rows]
        for image, row in zip(images, rows, strict=True):
            assert (image.height, image.width) == row.size
            np.testing.assert_allclose(image.faces.boxes, row.faces.boxes, atol=6e-4)
            np.testing.assert_allclose(image.faces.landmarks, row.faces.landmarks, atol=6e-4)
            np.testing.assert_array_equal(image.faces.scores, row.faces.scores)


def test_a_row_of_json_holds_what_the_documentation_says(tmp_path: Path) -> None:
    faces = FaceDetections(
        np.array([[1, 2, 30.5, 40]], np.float32), np.full((1, 5, 2), 7, np.float32), np.array([0.75], np.float32)
    )
    row = ImageRow("a.jpg", "s.tar", (64, 48), faces, crops=[b"\xff\xd8"])
    path = write_part(tmp_path / "part-00000.jsonl.gz", [row], "jsonl", with_crops=True)
    assert json.loads(gzip.decompress(path.read_bytes())) == {
        "name": "a.jpg",
        "shard": "s.tar",
        "width": 48,
        "height": 64,
        "boxes": [[1, 2, 30.5, 40]],
        "scores": [0.75],
        "landmarks": [[[7, 7]] * 5],
        "crops": [base64.b64encode(b"\xff\xd8").decode()],
    }


def test_a_row_of_parquet_holds_lists_and_crops_as_bytes(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [ImageRow("a.jpg", "", (64, 48), make_faces(2), crops=[b"1", b"2"])] * 2500
    path = write_part(tmp_path / "part-00000.parquet", rows, "parquet", with_crops=True)
    table = parquet.read_table(path)
    assert table.num_rows == 2500
    assert [str(field.type) for field in table.schema] == [
        *("string", "string", "int32", "int32"),
        "list<element: fixed_size_list<element: float>[4]>",
        "list<element: float>",
        "list<element: fixed_size_list<element: fixed_size_list<element: float>[2]>[5]>",
        "list<element: binary>",
    ]
    assert table["crops"][2400].as_py() == [b"1", b"2"]
    assert table["width"][0].as_py() == 48


@pytest.mark.parametrize("kind", FORMATS)
def test_names_that_two_shards_share_have_the_shard_in_front(tmp_path: Path, kind: PartFormat) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    for number in range(2):
        rows = [ImageRow("x.jpg", f"{number}.tar", (9, 9), make_faces(1))]
        rows += [ImageRow("only.jpg", "1.tar", (9, 9), make_faces(1))] * number
        write_part(tmp_path / f"part-{number:05d}{PART_SUFFIXES[kind]}", rows, kind)
    assert list(read_predictions(tmp_path).file_names) == ["0.tar/x.jpg", "1.tar/x.jpg", "only.jpg"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": "a.jpg", "shard": "", "boxes": [[1, 2, 3]], "scores": [1], "landmarks": [[[0, 0]] * 5]}, "as many"),
        ({"name": "a.jpg", "shard": "", "boxes": [[1, 2, 3, 4]], "scores": [], "landmarks": [[[0, 0]] * 5]}, "as many"),
        ({"name": "a.jpg", "shard": ""}, "as many"),
        ({"name": 3, "shard": ""}, "expected an image with name"),
    ],
)
def test_a_broken_row_is_named_with_its_line(tmp_path: Path, row: dict[str, object], message: str) -> None:
    good = {"name": "b.jpg", "shard": "", "boxes": [], "scores": [], "landmarks": []}
    path = tmp_path / "part-00000.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(one).encode() for one in (good, row))))
    with pytest.raises(LabelFormatError, match=rf"part-00000.jsonl.gz:2: .*{message}"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("length", [30, 200])
def test_a_part_that_was_cut_is_an_error(tmp_path: Path, length: int) -> None:
    pytest.importorskip("pyarrow")
    for kind in FORMATS:
        path = write_part(tmp_path / f"part-00000{PART_SUFFIXES[kind]}", ROWS, kind)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(LabelFormatError, match="part-00000"):
            read_predictions(path)
        path.unlink()
