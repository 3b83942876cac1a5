"""The command: from files, weights and training runs to table and report."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from retinaface_cli.errors import LabelFormatError, OutputError, RetinaFaceError, SettingsError
from retinaface_cli.formats import FaceTable, read_predictions, write_predictions
from retinaface_cli.formats.parts import ImageRow
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.evaluation import EvaluateSettings
from tests.commands.evaluate_making import (
    NOWHERE,
    A,
    B,
    Notes,
    evaluate,
    write_detections,
    write_images,
    write_labels,
    write_wider_mat,
)
from tests.conftest import REPOSITORY
from tests.detection.test_detector import write_random_weights
from tests.evaluation.images import detected, labelled, random_images, recorded_detections
from tests.evaluation.test_coco import coco_face
from tests.formats.test_parts import write_part

LABELS = [labelled(A, B, name="0--Parade/a.jpg"), labelled(B, name="1--Handshaking/b.jpg")]
DETECTIONS = [
    detected((0.9, A), (0.8, NOWHERE), (0.05, B), name="0--Parade/a.jpg"),
    detected((0.6, B), name="1--Handshaking/b.jpg"),
]
# in order: right, wrong, right, right of 3 faces: 1/3 * 1 + 2/3 * 3/4
EXPECTED_AP = 1 / 3 + 2 / 3 * 3 / 4


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path / "labels.json", LABELS)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    return write_detections(tmp_path / "predictions.json", DETECTIONS)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


def test_predictions_are_scored_and_everything_is_said(
    tmp_path: Path, labels: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Notes()
    report = evaluate(console, predictions=[predictions], labels=labels, output=tmp_path / "out")
    assert report["wider"]["all"] == pytest.approx(EXPECTED_AP)
    assert report["ap50"]["ap"] == pytest.approx(EXPECTED_AP)
    assert report["coco"]["ap50"] == pytest.approx(EXPECTED_AP, abs=0.01)  # at 101 recalls
    assert "landmarks" not in report
    assert report["labels"]["num_images"] == 2
    assert report["labels"]["num_faces"] == 3
    assert len(report["labels"]["fingerprint"]) == 16
    assert report["predictions"]["num_faces"] == 4
    assert report["scale"] is None
    assert {"retinaface-cli", "python", "numpy", "faster-coco-eval"} <= set(report["versions"])
    table = capsys.readouterr().out
    assert f"{EXPECTED_AP:.4f}" in table
    assert "report.json, report.html, pr_curve.png" in table
    assert "2 images, 3 faces" in console.text


def test_a_folder_of_parts_scores_as_one_file_does(tmp_path: Path, labels: Path) -> None:
    for number, image in enumerate(DETECTIONS):
        row = ImageRow(image.file_name, "", (image.height or 0, image.width or 0), image.faces)
        write_part(tmp_path / "out" / "parts" / f"part-{number:05d}.jsonl.gz", [row], "jsonl")
    report = evaluate(Notes(), predictions=[tmp_path / "out"], labels=labels, output=tmp_path / "report")
    assert report["ap50"]["ap"] == pytest.approx(EXPECTED_AP)
    assert report["predictions"]["num_faces"] == 4


def test_the_official_ground_truth_gives_easy_medium_and_hard(tmp_path: Path, predictions: Path) -> None:
    counted = {"easy": [[1], []], "medium": [[1], [1]], "hard": [[1, 2], [1]]}
    folder = write_wider_mat(tmp_path / "ground_truth", LABELS, counted)
    report = evaluate(predictions=[predictions], labels=folder, output=tmp_path / "out")
    # easy: the others are ignored; medium: right, wrong, right of two faces
    assert report["wider"]["easy"] == 1.0
    assert report["wider"]["medium"] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert report["wider"]["hard"] == pytest.approx(EXPECTED_AP)
    assert report["wider"]["num_faces"] == {"easy": 1, "medium": 2, "hard": 3}
    assert "coco" not in report
    for place in (tmp_path, folder / "wider_easy_val.mat"):
        again = evaluate(
            predictions=[predictions],
            labels=place,
            output=tmp_path / "out",
            overwrite=True,
            protocols=["coco", "wider"],
        )
        assert again["wider"] == report["wider"]
        assert again["coco"]["num_faces"] == 3
        assert "ap50" not in again


def test_coco_files_score_as_pycocotools_scores_them(tmp_path: Path) -> None:
    labels, detections = random_images(5)
    images = [{"id": i, "file_name": image.file_name, "width": 200, "height": 200} for i, image in enumerate(labels)]
    faces = [
        coco_face(i, box) | {"iscrowd": int(ignored)}
        for i, image in enumerate(labels)
        for box, ignored in zip(image.faces.boxes.tolist(), image.faces.ignore.tolist(), strict=True)
    ]
    content = {
        "images": images,
        "annotations": [face | {"id": i} for i, face in enumerate(faces, start=1)],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    write_predictions(tmp_path / "results.json", FaceTable.from_images(detections), format_name="coco")
    report = evaluate(predictions=[tmp_path / "results.json"], labels=tmp_path / "labels.json", output=tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "labels.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = [report["coco"][name] for name in ("ap", "ap50", "ap75", "ap_small")]
    assert figures == pytest.approx(evaluation.stats[:4].tolist(), abs=1e-12)


def test_several_predictions_stand_side_by_side_with_their_differences(
    tmp_path: Path, labels: Path, predictions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = write_detections(tmp_path / "better.json", [detected((0.9, A), (0.5, B), name="a.jpg"), DETECTIONS[1]])
    report = evaluate(predictions=[predictions, better], labels=labels, output=tmp_path / "out")
    assert report["others"][0]["ap50"]["ap"] == 1.0
    table = capsys.readouterr().out
    assert "predictions.json" in table
    assert "better.json" in table
    assert f"{1 - EXPECTED_AP:+.4f}" in table


def test_weights_are_run_over_the_labelled_images_and_scored(tmp_path: Path, labels: Path, weights: Path) -> None:
    images = write_images(tmp_path / "images", LABELS)
    write_images(images, [labelled(name="0--Parade/not_labelled.jpg")])
    given: dict[str, Any] = {"labels": labels, "weights": str(weights), "images": images, "output": tmp_path / "out"}
    detection: dict[str, Any] = {"accelerator": "cpu", "score_threshold": 0.3}
    report = evaluate(**given, **detection, scale="64", tta=["flip"])
    detections = read_predictions(tmp_path / "out/detections").detection_images()
    assert [image.file_name for image in detections] == ["0--Parade/a.jpg", "1--Handshaking/b.jpg"]
    assert report["predictions"]["num_faces"] == sum(len(image.faces) for image in detections) > 0
    assert report["scale"] == "64, flip"
    assert len(report["predictions"]["weights_sha256"]) == 64
    assert "torch" in report["versions"]
    with pytest.raises(SettingsError, match="holds results already"):
        evaluate(**given, **detection, scale="64", tta=["flip"])
    with pytest.raises(OutputError, match="max_size was 64, is None"):
        evaluate(**given, **detection, tta=["flip"], resume=True)
    resumed = evaluate(**given, **detection, scale="64", tta=["flip"], resume=True)
    assert resumed["wider"] == report["wider"]


def test_images_that_are_missing_or_broken_are_said_and_count_as_missed(
    tmp_path: Path, labels: Path, weights: Path
) -> None:
    images = write_images(tmp_path / "images", LABELS[:1])
    given: dict[str, Any] = {"labels": labels, "weights": str(weights), "images": images}
    console = Notes()
    report = evaluate(console, **given, accelerator="cpu", output=tmp_path / "out")
    assert "1 labelled images have no predictions and count as none (1--Handshaking/b.jpg)" in console.text
    assert report["predictions"]["num_images"] == 1
    (images / "0--Parade/a.jpg").write_bytes(b"broken")
    with pytest.raises(RetinaFaceError, match="none of its images could be read"):
        evaluate(**given, accelerator="cpu", output=tmp_path / "none")


def test_a_run_that_cannot_start_leaves_no_folder(
    tmp_path: Path, labels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", LABELS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RetinaFaceError, match=r"none\.pth"):
        evaluate(labels=labels, images=images, weights="none.pth")
    assert list((tmp_path / "runs/evaluate").iterdir()) == []


def test_a_training_run_is_scored_on_its_own_validation_images(
    tmp_path: Path, labels: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images", LABELS)
    folder = tmp_path / "runs/train/mine"
    folder.mkdir(parents=True)
    source = f"[{{labels: {labels}, images: {images}}}]"
    config = f"data: {{train: {source}, validation: {source}, validation_scale: 96}}\nexperiment_name: mine\n"
    (folder / "config.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="no best weights yet"):
        evaluate(training=folder)
    (folder / "best.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "elsewhere.yaml").write_text(config)
    for training in (folder, folder / "config.yaml", Path("elsewhere.yaml")):
        report = evaluate(training=training, accelerator="cpu", score_threshold=0.3)
        assert report["scale"] == "96"
        assert report["labels"]["num_faces"] == 3
    result = CliRunner().invoke(app, ["evaluate"])
    assert result.exit_code == 0
    assert json.loads((tmp_path / "runs/evaluate/4/report.json").read_text())["wider"]["num_faces"] == {"all": 3}


def test_without_anything_to_score_the_help_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["evaluate"])
    assert result.exit_code == 0
    assert "--predictions" in result.output
    assert "no training run under runs/train" in result.output
    assert list(tmp_path.iterdir()) == []


def test_the_worst_images_are_drawn(tmp_path: Path, labels: Path, predictions: Path) -> None:
    images = write_images(tmp_path / "images", LABELS)
    console = Notes()
    evaluate(console, predictions=[predictions], labels=labels, images=images, worst=5, output=tmp_path / "out")
    assert (tmp_path / "out/worst.jpg").stat().st_size > 1000
    assert "missed faces blue" in console.text
    (tmp_path / "out/worst.jpg").unlink()
    perfect = write_detections(tmp_path / "perfect.json", [detected((0.9, A), (0.9, B), name="a.jpg"), DETECTIONS[1]])
    console = Notes()
    evaluate(console, predictions=[perfect], labels=labels, images=images, worst=5, output=tmp_path / "perfect")
    assert "no mistakes to draw" in console.text
    assert not (tmp_path / "perfect/worst.jpg").exists()


def test_strict_makes_an_error_of_every_note(tmp_path: Path, labels: Path) -> None:
    path = write_detections(tmp_path / "p.json", DETECTIONS[:1])
    with pytest.raises(LabelFormatError, match="1 labelled images have no predictions"):
        evaluate(predictions=[path], labels=labels, strict=True, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"predictions": ["p"], "weights": "w", "labels": "l"}, "exclude each other"),
        ({"predictions": ["p"]}, "labels are missing"),
        ({"weights": "w"}, "labels are missing"),
        ({"labels": "l"}, "name the predictions"),
        ({"predictions": ["p"], "labels": "l", "scale": "640"}, "scored as they are"),
        ({"weights": "w", "labels": "l", "scale": "big"}, "expected original"),
        ({"weights": "w", "labels": "l", "resume": True}, "resume needs output"),
        ({"weights": "w", "labels": "l", "tta": ["rotate"]}, "flip"),
    ],
)
def test_options_that_do_not_go_together_are_one_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate_settings(EvaluateSettings, values, source="evaluate")


def test_landmark_errors_need_labels_with_landmarks(tmp_path: Path, labels: Path, predictions: Path) -> None:
    with pytest.raises(SettingsError, match="has no landmarks"):
        evaluate(predictions=[predictions], labels=labels, protocols=["landmarks"], output=tmp_path / "out")


def test_the_command_line_scores_files_without_torch_and_says_errors_in_one_line(
    tmp_path: Path, labels: Path, predictions: Path
) -> None:
    code = (
        "import sys; from retinaface_cli.cli import app\n"
        "try: app.main()\n"
        "finally: print('torch' in sys.modules, 'cv2' in sys.modules)"
    )

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "evaluate", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    done = call("--predictions", str(predictions), "--labels", str(labels), "--protocol", "wider", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("False False\n")
    (tmp_path / "empty.json").write_text("")
    failed = call("--predictions", "empty.json", "--labels", str(labels))
    assert failed.returncode == 1
    assert failed.stderr == "error: empty.json: the file is empty\n"


@pytest.mark.shared
@pytest.mark.parametrize("format_name", ["json", "wider"])
def test_recorded_detections_score_as_the_official_tool_says_through_files(
    shared: Path, tmp_path: Path, format_name: Any
) -> None:
    path = tmp_path / "predictions.json" if format_name == "json" else tmp_path / "wider"
    write_predictions(path, FaceTable.from_images(recorded_detections(shared)), format_name=format_name)
    report = evaluate(predictions=[path], labels=shared / "data/wider_dev", output=tmp_path / "out")
    scores = [report["wider"][name] for name in ("easy", "medium", "hard")]
    assert scores == pytest.approx([0.8883384274, 0.8544885426, 0.7088689507], abs=1e-9)
