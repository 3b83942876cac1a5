"""Everything that `infer` writes, for the example images and mobilenet0.25."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.golden.golden import Tolerance, check_json, describe_image, relative_files, retinaface

IMAGES = Path(__file__).resolve().parents[2] / "examples/images"
PIXELS = Tolerance(absolute=0.05)
SCORE = Tolerance(absolute=1e-3)
COLOR = Tolerance(absolute=1.0)


def infer(output: Path, *options: str) -> None:
    code = retinaface(
        *(
            "infer",
            IMAGES,
            "-w",
            "mobilenet0.25",
            "--rescore",
            "-o",
            output,
            "--accelerator",
            "cpu",
            "--precision",
            "32",
            "--backend",
            "torch",
        ),
        *("--max-size", "320", *options),
    )
    assert code == 0


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Rows with numbers in place of texts, where they are some."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: to_number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def to_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def read_wider(folder: Path) -> dict[str, Any]:
    """Name, number and faces of each text file."""
    result = {}
    for name in relative_files(folder):
        first, count, *faces = (folder / name).read_text(encoding="utf-8").splitlines()
        numbers = [[float(part) for part in face.split()] for face in faces]
        result[name] = [first, int(count), [{"bbox": row[:4], "score": row[4:]} for row in numbers]]
    return result


FORMATS: Mapping[str, tuple[str, Callable[[Path], Any]]] = {
    "json": ("predictions.json", read_json),
    "jsonl": ("predictions.jsonl", read_lines),
    "coco": ("predictions_coco.json", read_json),
    "wider": ("wider", read_wider),
    "csv": ("predictions.csv", read_csv),
}


@pytest.mark.parametrize("name", FORMATS)
def test_faces_of_the_example_images_are_written_as_ever(name: str, tmp_path: Path) -> None:
    infer(tmp_path, "--format", name)
    place, read = FORMATS[name]
    actual = {"files": relative_files(tmp_path), "predictions": read(tmp_path / place)}
    check_json(f"infer/{name}", actual, other=PIXELS, score=SCORE)
    together = read_json(tmp_path / "predictions.json")
    single = [read_json(tmp_path / f"labels/{image['file_name']}.json") for image in together]
    assert [{**image, "file_path": one["file_path"]} for image, one in zip(together, single, strict=True)] == single


def test_drawings_crops_and_hidden_faces_look_as_ever(tmp_path: Path) -> None:
    infer(tmp_path, "--visualize", "--crops", "aligned", "--anonymize", "pixelate")
    files = relative_files(tmp_path)
    drawn = {name: describe_image(tmp_path / name) for name in files if name.endswith(".jpg")}
    assert {name.split("/")[0] for name in drawn} == {"viz", "crops", "anonymized"}
    check_json("infer/drawings", {"files": files, "drawn": drawn}, mean_color=COLOR)


def test_crops_with_a_margin_and_blurred_faces_look_as_ever(tmp_path: Path) -> None:
    infer(tmp_path, "--crops", "margin", "--anonymize", "blur")
    files = relative_files(tmp_path)
    drawn = {name: describe_image(tmp_path / name) for name in files if name.endswith(".jpg")}
    check_json("infer/margins", {"files": files, "drawn": drawn}, mean_color=COLOR, size=Tolerance(absolute=1))
