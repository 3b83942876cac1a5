from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from rich.console import Console
from typer.testing import CliRunner

from retinaface_cli.cli.app import app
from retinaface_cli.commands import export
from retinaface_cli.commands.export import run
from retinaface_cli.detection.backends.onnx import OnnxGraph
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.export import open_file
from retinaface_cli.detection.export_check import Difference, Reference, read_faces
from retinaface_cli.errors import CheckpointError, OutputError, SettingsError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.export import ExportSettings
from tests.detection.test_detector import assert_equal_faces, noise, write_random_weights

SIZES = ((64, 96), (75, 131), (33, 40), (200, 120), (240, 320))
PLAIN: dict[str, Any] = {"score_threshold": 0.3, "rescore": False, "coarse_pass": False, "box_voting": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


def run_export(weights: Path, output: Path, **options: Any) -> Difference:
    """Runs the command in this process."""
    values = {"weights": str(weights), "output": str(output), **options}
    return run(validate_settings(ExportSettings, values, source="export"), console=Console(quiet=True))


def in_torch(weights: Path, **options: Any) -> FaceDetector:
    """What torch finds in 32 bits."""
    return FaceDetector.load(weights, device="cpu", backend="torch", **{**PLAIN, **options})


@pytest.mark.parametrize("name", ["face.onnx", "face.xml"])
@pytest.mark.parametrize(("backbone", "preprocessing"), [("mobilenet0.25", "mean-bgr"), ("resnet18", "imagenet-rgb")])
def test_an_exported_file_finds_what_torch_finds(tmp_path: Path, name: str, backbone: str, preprocessing: str) -> None:
    weights = write_random_weights(tmp_path / "w.safetensors", backbone=backbone, preprocessing=preprocessing)
    difference = run_export(weights, tmp_path / name)
    assert difference.score < 1e-4
    assert difference.pixels < 0.05
    detector = FaceDetector.load(tmp_path / name, **PLAIN)
    for seed, size in enumerate(SIZES):
        image = noise(*size, seed=seed)
        assert_equal_faces(detector.detect(image), in_torch(weights).detect(image))


def test_an_onnx_file_runs_in_openvino_too(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "face.onnx")
    detector = FaceDetector.load(tmp_path / "face.onnx", backend="openvino", **PLAIN)
    assert detector.description == "OpenVINO, 32"
    assert_equal_faces(detector.detect(noise(75, 131)), in_torch(weights).detect(noise(75, 131)))


def test_images_of_any_number_and_size_go_through_a_file(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "face.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "face.onnx"), providers=["CPUExecutionProvider"])
    images = np.stack([noise(75, 131, seed=seed) for seed in range(4)])
    logits, boxes, points = session.run(None, {"images": images})
    num_anchors = 2 * (10 * 17 + 5 * 9 + 3 * 5)
    assert logits.shape == (4, num_anchors, 2)
    assert boxes.shape == (4, num_anchors, 4)
    assert points.shape == (4, num_anchors, 5, 2)
    for image, expected in zip(images, logits, strict=True):
        np.testing.assert_allclose(session.run(None, {"images": image[None]})[0][0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["face.onnx", "face.xml"])
def test_a_file_for_one_size_takes_images_of_others(weights: Path, tmp_path: Path, name: str) -> None:
    run_export(weights, tmp_path / name, size=(96, 128))
    detector = FaceDetector.load(tmp_path / name, **PLAIN)
    assert detector.weights.image_size == (96, 128)  # type: ignore[union-attr]
    assert_equal_faces(detector.detect(noise(96, 128)), in_torch(weights).detect(noise(96, 128)))
    (large,) = detector.detect_resized([noise(192, 200)])  # a height of 96 takes half of it, 100 of 128 columns
    filled = np.full((96, 128, 3), (123, 117, 104), np.uint8)  # the mean, which is 0 to the network
    filled[:, :100] = cv2.resize(noise(192, 200), (100, 96), interpolation=cv2.INTER_AREA)
    (small,) = in_torch(weights).detect_resized([filled])
    is_inside = [np.abs(small.boxes * 2 - box).max(axis=1).min() < 0.01 for box in large.boxes]
    assert len(large) >= 5
    assert np.mean(is_inside) > 0.9  # suppression does not see what torch finds in the rest


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    run_export(Path("mobilenet0.25"), tmp_path / "face.onnx", size=(64, 64))
    found = {entry.key: entry.value for entry in onnx.load(tmp_path / "face.onnx").metadata_props}
    network = json.loads(found["network"])
    assert found["tool"].startswith("retinaface-cli ")
    assert found["licence"] == "MIT"
    assert (network["network"], network["backbone"]) == ("retinaface", "mobilenet0.25")
    assert network["preprocessing"] == {"color_order": "bgr", "mean": [104.0, 117.0, 123.0], "std": [1.0, 1.0, 1.0]}
    assert json.loads(found["classes"]) == ["background", "face"]
    assert json.loads(found["anchors"])["sizes"] == [[16.0, 32.0], [64.0, 128.0], [256.0, 512.0]]
    assert json.loads(found["variances"]) == [0.1, 0.2]


def test_the_size_is_given_as_two_numbers(weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "face.onnx"
    for given, code in ((["64", "96"], 0), (["64", "x"], 2), (["64"], 2)):
        result = CliRunner().invoke(app, ["export", str(weights), "-f", "-o", str(output), "--size", *given])
        assert result.exit_code == code
    assert OnnxGraph(output).inputs[0].shape == (None, 64, 96, 3)


def test_the_licence_of_unknown_weights_is_unknown_unless_given(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "a.onnx", size=(64, 64))
    run_export(weights, tmp_path / "b.onnx", size=(64, 64), licence="CC-BY-4.0")
    found = [OnnxGraph(tmp_path / name).metadata["licence"] for name in ("a.onnx", "b.onnx")]
    assert found == ["unknown; ask whoever trained the weights", "CC-BY-4.0"]


@pytest.mark.parametrize("name", ["face.onnx", "face.xml"])
def test_an_end_to_end_file_gives_the_faces_of_each_image(weights: Path, tmp_path: Path, name: str) -> None:
    difference = run_export(weights, tmp_path / name, end2end=True, score_threshold=0.65)
    assert difference.num_compared > 100
    images = np.stack([noise(75, 131, seed=0), np.zeros((75, 131, 3), np.uint8), noise(75, 131, seed=5)])
    outputs = next(open_file(tmp_path / name)).run(images)
    detector = in_torch(weights, score_threshold=0.65)
    expected = [detector.detect_resized([image])[0] for image in images]
    most = max(map(len, expected))
    assert [part.shape for part in outputs] == [(3, most, 4), (3, most), (3, most, 5, 2)]
    assert len(set(map(len, expected))) > 1
    for faces, wanted in zip(read_faces(outputs), expected, strict=True):
        np.testing.assert_allclose(faces.scores, wanted.scores, atol=1e-4)
        np.testing.assert_allclose(faces.boxes, wanted.boxes, atol=0.05)
        np.testing.assert_allclose(faces.landmarks, wanted.landmarks, atol=0.05)
    assert (outputs[1][:, 1:] <= outputs[1][:, :-1]).all()


def test_an_end_to_end_file_gives_nothing_where_nothing_is(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "face.onnx", end2end=True, score_threshold=1.0)
    for graph in open_file(tmp_path / "face.onnx"):
        shapes = [part.shape for part in graph.run(np.zeros((2, 64, 96, 3), np.uint8))]
        assert shapes == [(2, 0, 4), (2, 0), (2, 0, 5, 2)]


def test_infer_names_what_to_take_instead_of_an_end_to_end_file(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "face.onnx", end2end=True, size=(64, 64))
    with pytest.raises(CheckpointError, match="export it without --end2end"):
        FaceDetector.load(tmp_path / "face.onnx")


@pytest.mark.parametrize("name", ["face.onnx", "face.xml"])
def test_half_halves_the_file_and_changes_little(weights: Path, tmp_path: Path, name: str) -> None:
    heavy = Path(name).with_suffix(".bin" if name.endswith("xml") else ".onnx").name
    sizes = []
    for half in (False, True):
        difference = run_export(weights, tmp_path / name, half=half, force=True)
        sizes.append((tmp_path / heavy).stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    assert 1e-6 < difference.score < 0.1
    faces, wanted = (
        detector.detect(noise(96, 128)) for detector in (FaceDetector.load(tmp_path / name, **PLAIN), in_torch(weights))
    )
    np.testing.assert_allclose(faces.scores[:5], wanted.scores[:5], atol=0.02)


@pytest.mark.parametrize("opset", [13, 16, 18, 20])
@pytest.mark.parametrize("end2end", [False, True])
def test_the_operators_may_be_of_other_versions(weights: Path, tmp_path: Path, opset: int, end2end: bool) -> None:
    run_export(weights, tmp_path / "face.onnx", opset=opset, end2end=end2end, size=(64, 96))
    (found,) = onnx.load(tmp_path / "face.onnx").opset_import
    assert found.version == opset


@pytest.mark.parametrize("name", ["face.onnx", "face.xml"])
def test_a_file_that_differs_from_torch_is_not_written(
    weights: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LIMIT", Difference(score=1e-12, pixels=0.0))
    with pytest.raises(CheckpointError, match=f"{name}: not written, since it does not compute what torch does"):
        run_export(weights, tmp_path / "new" / name)
    assert not (tmp_path / "new").exists()


def test_another_network_is_seen_by_the_comparison(weights: Path, tmp_path: Path) -> None:
    other = write_random_weights(tmp_path / "other.safetensors", seed=4)
    run_export(other, tmp_path / "face.onnx")
    settings = ExportSettings(output=tmp_path / "face.onnx")
    difference = Reference(load_weights(weights), None).compare(OnnxGraph(tmp_path / "face.onnx"), settings)
    assert not difference.is_within(export.LIMIT_HALF)
    assert not Difference(score=float("nan"), num_compared=10).is_within(export.LIMIT)


@pytest.mark.parametrize(
    ("name", "taken"), [("face.onnx", "face.onnx"), ("face.xml", "face.xml"), ("face.xml", "face.bin")]
)
def test_files_that_are_there_stay_unless_forced(weights: Path, tmp_path: Path, name: str, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(OutputError, match=f"{taken}: exists already; --force"):
        run_export(weights, tmp_path / name, size=(64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == [taken]
    assert (tmp_path / taken).read_text() == "mine"
    run_export(weights, tmp_path / name, size=(64, 64), force=True)
    assert isinstance(FaceDetector.load(tmp_path / name).detect(noise(64, 64)), FaceDetections)


def test_the_weights_are_never_written_over(tmp_path: Path) -> None:
    source = write_random_weights(tmp_path / "w.safetensors").rename(tmp_path / "w.bin")
    with pytest.raises(OutputError, match=r"w.bin: is a source of this command"):
        run_export(source, tmp_path / "w.xml", force=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "face.pth"}, "face.onnx, or model.xml|model.onnx, or model.xml"),
        ({"score_threshold": 0.5}, "score_threshold: only with end2end"),
        ({"output": "face.xml", "opset": 13}, "opset is of ONNX files alone"),
        ({"size": (16, 64)}, "size"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    weights: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        run_export(weights, tmp_path / options.pop("output", "face.onnx"), **options)


def test_an_exported_file_is_no_start_for_training_or_another_export(weights: Path, tmp_path: Path) -> None:
    run_export(weights, tmp_path / "face.onnx", size=(64, 64))
    with pytest.raises(CheckpointError, match="train and export take the weights it is of"):
        run_export(tmp_path / "face.onnx", tmp_path / "face.xml")
