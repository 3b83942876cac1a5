"""Nothing lost and nothing wrong in silence: names, folders and files that went wrong in `evaluate`."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from retinaface_cli.errors import LabelFormatError, OutputError, RetinaFaceError, SettingsError
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.formats import FaceTable, write_predictions
from tests.commands.evaluate_making import A, B, Notes, evaluate, write_detections, write_labels
from tests.detection.test_detector import noise, write_random_weights
from tests.evaluation.images import detected, labelled

LABELS = [labelled(A, B, name="0--Parade/a.jpg"), labelled(B, name="1--Handshaking/b.jpg")]
DETECTIONS = [
    detected((0.9, A), (0.05, B), name="0--Parade/a.jpg"),
    detected((0.6, B), name="1--Handshaking/b.jpg"),
]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.json", LABELS)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_detections(tmp_path / "predictions.json", DETECTIONS)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_that_lead_out_of_the_folder_are_detected_within_it(tmp_path: Path) -> None:
    """Absolute names and names with dots; a second run with other weights gives its own scores."""
    data = tmp_path / "data"
    paths = [data / "inner" / "a.png", data / "x.png", data / "abs" / "y.png"]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), noise(96, 128, seed=seed))
    names = ("a.png", "../x.png", str(paths[2]))
    labels = write_labels(data / "inner" / "labels.json", [labelled(A, name=name) for name in names])
    before = contents(tmp_path)
    found = []
    for seed in (1, 2):
        weights = write_random_weights(tmp_path / f"w{seed}.safetensors", seed=seed)
        before[weights] = weights.read_bytes()
        output = tmp_path / f"out{seed}"
        report = evaluate(weights=str(weights), labels=labels, images=data / "inner", output=output, scale="128")
        new = set(contents(tmp_path)) - set(before)
        assert all(path.is_relative_to(tmp_path / f"out{seed}") for path in new)
        assert {path: path.read_bytes() for path in before} == before
        assert report["predictions"]["num_images"] == len(names)
        assert not report["predictions"]["notes"] or "labelled images" not in report["predictions"]["notes"][0]
        found.append(report["predictions"]["num_faces"])
        before = contents(tmp_path)
    assert found[0] != found[1]


@pytest.mark.parametrize("name", ["report.json", "report.html", "pr_curve.png", "worst.jpg"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_of_others_is_never_written_over(
    name: str, overwrite: bool, tmp_path: Path, labels: Path, predictions: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("dear diary")
    with pytest.raises(OutputError, match="was not written by this tool"):
        evaluate(predictions=[predictions], labels=labels, output=tmp_path / "out", overwrite=overwrite)
    assert contents(tmp_path / "out") == {tmp_path / "out" / name: b"dear diary"}


def test_own_results_are_replaced_only_when_asked(tmp_path: Path, labels: Path, predictions: Path) -> None:
    values: dict[str, Any] = {"predictions": [predictions], "labels": labels, "output": tmp_path / "out"}
    evaluate(**values)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds results already"):
        evaluate(**values)
    assert evaluate(**values, overwrite=True)["predictions"]["num_faces"] == 3
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_results_of_another_command_are_kept_and_only_options_that_go_with_predictions_are_named(
    tmp_path: Path, labels: Path, predictions: Path
) -> None:
    with OutputFolder.open(tmp_path / "out", identity={"command": "infer"}) as output:
        output.write_text(tmp_path / "out/predictions.json", "[]")
    with pytest.raises(OutputError, match="holds results of a run; --overwrite to replace them"):
        evaluate(predictions=[predictions], labels=labels, output=tmp_path / "out")
    assert (tmp_path / "out/predictions.json").read_text() == "[]"


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link"])
def test_an_output_that_is_no_folder_is_one_error(kind: str, tmp_path: Path, labels: Path, predictions: Path) -> None:
    output = tmp_path / "out"
    if kind == "dangling link":
        output.symlink_to(tmp_path / "nowhere")
    else:
        output.write_text("a file")
    target = output / "inner" if kind == "below a file" else output
    with pytest.raises(RetinaFaceError, match="out"):
        evaluate(predictions=[predictions], labels=labels, output=target)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_as_predictions_or_as_run_file_does_not_wait(tmp_path: Path, labels: Path, predictions: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RetinaFaceError, match="pipe"):
        evaluate(predictions=[tmp_path / "pipe.json"], labels=labels, output=tmp_path / "out")
    os.mkfifo(tmp_path / "run.json")
    assert evaluate(predictions=[predictions], labels=labels, output=tmp_path / "out")["scale"] is None


def coco(tmp_path: Path, *, zipped: bool) -> Path:
    """Labels whose ids are not the numbers in their file names."""
    content = {
        "images": [
            {"id": 9, "file_name": "2.jpg", "width": 128, "height": 96},
            {"id": 2, "file_name": "9.jpg", "width": 128, "height": 96},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 3, "bbox": [0, 0, 20, 20]},
            {"id": 2, "image_id": 2, "category_id": 3, "bbox": [40, 0, 30, 30]},
        ],
        "categories": [{"id": 3, "name": "face"}, {"id": 4, "name": "plate"}],
    }
    text = json.dumps(content).encode()
    path = tmp_path / ("labels.json.gz" if zipped else "labels.json")
    path.write_bytes(gzip.compress(text) if zipped else text)
    return path


RESULTS = [
    {"image_id": 9, "category_id": 3, "bbox": [0, 0, 20, 20], "score": 0.9},
    {"image_id": 2.0, "category_id": 3, "bbox": [40, 0, 30, 30], "score": 0.04},
]


@pytest.mark.parametrize("zipped", [False, True])
def test_results_by_image_id_score_the_same_against_gzipped_labels(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    report = evaluate(predictions=[path], labels=coco(tmp_path, zipped=zipped), output=tmp_path / "out")
    assert report["ap50"]["ap"] == 1.0


def test_results_of_other_categories_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    other = {"image_id": 9, "category_id": 4, "bbox": [60, 60, 20, 20], "score": 0.99}
    path.write_text(json.dumps([other, *RESULTS]))
    console = Notes()
    labels = coco(tmp_path, zipped=False)
    report = evaluate(console, predictions=[path], labels=labels, output=tmp_path / "out")
    assert (report["ap50"]["ap"], report["predictions"]["num_faces"]) == (1.0, 2)
    assert "categor" in console.text
    with pytest.raises(LabelFormatError, match="categor"):
        evaluate(predictions=[path], labels=labels, output=tmp_path / "strict", strict=True)


def test_control_characters_in_paths_are_not_printed_raw(
    tmp_path: Path, labels: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "\x1b[31mred\x07"
    folder.mkdir()
    console = Notes()
    paths = [predictions.rename(folder / "p.json"), write_detections(folder / "q\x1b]0;.json", DETECTIONS[:1])]
    evaluate(console, predictions=paths, labels=labels.rename(folder / "l.json"), output=folder / "out")
    printed = console.text + capsys.readouterr().out
    assert "\\x1b[31mred\\x07/p.json" in printed
    assert not {"\x1b", "\x07"} & set(printed)


def test_a_name_with_control_characters_refuses_predictions_in_printable_words(
    tmp_path: Path, labels: Path, predictions: Path
) -> None:
    predictions.write_text(predictions.read_text().replace("b.jpg", "\\u001b]0;b.jpg"))
    with pytest.raises(LabelFormatError, match=r"\\x1b\]0;b.jpg") as caught:
        evaluate(predictions=[predictions], labels=labels, output=tmp_path / "out")
    assert "\x1b" not in str(caught.value)


def test_a_name_with_control_characters_leaves_one_image_out_of_the_labels_and_is_printed_escaped(
    tmp_path: Path, labels: Path, predictions: Path
) -> None:
    labels.write_text(labels.read_text().replace("b.jpg", "\\u001b]0;b.jpg"))
    console = Notes()
    report = evaluate(console, predictions=[predictions], labels=labels, output=tmp_path / "out")
    assert report["ap50"]["ap"] == 1.0
    assert "control characters" in console.text and "\\x1b]0;b.jpg" in console.text
    assert "\x1b" not in console.text


def test_a_folder_of_predictions_may_hold_what_systems_leave_behind(tmp_path: Path, labels: Path) -> None:
    folder = tmp_path / "wider"
    write_predictions(folder, FaceTable.from_images(DETECTIONS), format_name="wider")
    (folder / "0--Parade" / "._a.txt").write_bytes(b"\x00\x05\x16\x07")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "a-checkpoint.txt").write_text("a\n1\n0 0 1 1 0.5\n")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    report = evaluate(predictions=[folder], labels=labels, output=tmp_path / "out")
    assert report["ap50"]["ap"] == 1.0
