"""Networks of others as ONNX files; boxes, points and scores are computed by hand, see graph_making."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rich.console import Console

from retinaface_cli.commands.infer.run import run
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.errors import CheckpointError, SettingsError
from retinaface_cli.faces import FaceDetections, RgbImage
from retinaface_cli.formats import read_predictions
from retinaface_cli.settings.detection import Backend, InferSettings
from retinaface_cli.visualization.image_files import save_image
from tests.detection.graph_making import POINTS, red_cell, write_scrfd, write_yunet

in_both_runtimes = pytest.mark.parametrize("backend", ["onnx", "openvino"])

SCRFD_SCORE = 1 / (1 + np.exp(-3 * (255 - 127.5) / 128))
SCRFD_BOX = np.array([48 - 16, 32 - 8, 48 + 24, 32 + 32])
"""Of the cell in row 2, column 3: anchors lie at its upper left corner, x 48 and y 32."""

YUNET_SCORE = np.sqrt(0.5 / (1 + np.exp(-3)))
YUNET_BOX = np.array([56 - 16, 36 - 24, 56 + 16, 36 + 24])
"""Of the same cell: the centre is half and a quarter of a cell into it, the size 2 and 3 cells."""

FACE_POINTS = np.array([48, 32]) + 16 * np.array(POINTS).reshape(5, 2)


def detect(path: Path, image: RgbImage, **options: Any) -> FaceDetections:
    """The faces of an image of network size."""
    return FaceDetector.load(path, **{"score_threshold": 0.5, **options}).detect(image)


def assert_face(faces: FaceDetections, box: Any, score: float, points: Any = FACE_POINTS) -> None:
    """One face, and no other."""
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes[0], box, atol=1e-3)
    np.testing.assert_allclose(faces.scores[0], score, atol=1e-5)
    np.testing.assert_allclose(faces.landmarks[0], points, atol=1e-3)


@in_both_runtimes
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("size", [None, (96, 160)])
def test_scrfd_finds_the_red_cell(
    tmp_path: Path, backend: Backend, batched: bool, size: tuple[int, int] | None
) -> None:
    path = write_scrfd(tmp_path / "det.onnx", size=size, batched=batched)
    assert_face(detect(path, red_cell(96, 160, row=2, column=3), backend=backend), SCRFD_BOX, SCRFD_SCORE)


def test_scrfd_without_points_finds_boxes_alone(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx", points=False)
    assert_face(detect(path, red_cell(96, 160, row=2, column=3)), SCRFD_BOX, SCRFD_SCORE, np.full((5, 2), np.nan))


def test_the_sizes_that_a_file_claims_need_not_be_right(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det_10g.onnx", declared_rows=12_800)
    assert_face(detect(path, red_cell(96, 160, row=2, column=3)), SCRFD_BOX, SCRFD_SCORE)


@in_both_runtimes
@pytest.mark.parametrize("size", [None, (96, 160)])
def test_yunet_finds_the_red_cell(tmp_path: Path, backend: Backend, size: tuple[int, int] | None) -> None:
    path = write_yunet(tmp_path / "face.onnx", size=size)
    assert_face(detect(path, red_cell(96, 160, row=2, column=3), backend=backend), YUNET_BOX, YUNET_SCORE)


@pytest.mark.parametrize("write", [write_scrfd, write_yunet])
def test_images_of_any_size_are_filled_up_with_black(tmp_path: Path, write: Any) -> None:
    path = write(tmp_path / "face.onnx")
    wanted = detect(path, red_cell(96, 160, row=2, column=3))
    for size in ((70, 100), (65, 129), (96, 97)):
        found = detect(path, red_cell(*size, row=2, column=3))
        np.testing.assert_allclose(found.boxes, np.minimum(wanted.boxes, [size[1], size[0]] * 2), atol=1e-3)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)


def test_what_was_filled_up_holds_no_faces(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx", red=-3.0)  # all that is black is a face
    faces = FaceDetector.load(path, score_threshold=0.5, nms_iou_threshold=1.0).detect_resized(
        [np.zeros((40, 70, 3), np.uint8)]
    )[0]
    assert len(faces) == 3 * 5  # cells of 16 pixels that begin in the image; the input has 4 rows and 6 columns


@pytest.mark.parametrize(("height", "width"), [(192, 320), (192, 200), (150, 320)])
def test_a_fixed_size_takes_larger_images_shrunk(tmp_path: Path, height: int, width: int) -> None:
    path = write_scrfd(tmp_path / "det.onnx", size=(96, 160))
    (faces,) = FaceDetector.load(path, score_threshold=0.5).detect_resized(
        [red_cell(height, width, row=2, column=3, scale=2)]
    )
    assert_face(faces, SCRFD_BOX * 2, SCRFD_SCORE, FACE_POINTS * 2)


def test_the_size_in_force_is_the_file_s(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx", size=(96, 160))
    assert FaceDetector.load(path).settings.max_size == 160
    assert FaceDetector.load(path, max_size=960).settings.max_size == 160
    assert FaceDetector.load(path, max_size=100).settings.max_size == 100


@pytest.mark.parametrize("write", [write_scrfd, write_yunet])
def test_faces_do_not_depend_on_the_company(tmp_path: Path, write: Any) -> None:
    detector = FaceDetector.load(write(tmp_path / "face.onnx"), score_threshold=0.5)
    images = [red_cell(96, 160, row=2, column=3), red_cell(64, 64, row=1, column=2), np.zeros((50, 90, 3), np.uint8)]
    for image, found in zip(images, detector.detect_batch(images), strict=True):
        np.testing.assert_array_equal(found.boxes, detector.detect(image).boxes)
    assert [len(found) for found in detector.detect_batch(images)] == [1, 1, 0]


def test_a_detector_of_a_file_goes_to_other_processes(tmp_path: Path) -> None:
    detector = FaceDetector.load(write_scrfd(tmp_path / "det.onnx"), score_threshold=0.5)
    assert_face(pickle.loads(pickle.dumps(detector)).detect(red_cell(96, 160, row=2, column=3)), SCRFD_BOX, SCRFD_SCORE)


def test_stages_that_were_not_measured_are_off_unless_given(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx")
    plain = FaceDetector.load(path).settings
    assert (plain.coarse_pass, plain.box_voting) == (False, False)
    chosen = FaceDetector.load(path, coarse_pass=True, box_voting=True).settings
    assert (chosen.coarse_pass, chosen.votes) == (True, True)
    ours = FaceDetector.load("mobilenet0.25", device="cpu").settings
    assert (ours.coarse_pass, ours.votes) == (True, True)


def test_infer_runs_scrfd_without_points_and_says_what_it_is(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx", size=(96, 160), points=False)
    save_image(tmp_path / "in" / "x.png", red_cell(96, 160, row=2, column=3))
    console = Console(record=True, width=400, file=io.StringIO())
    settings = InferSettings(
        inputs=(str(tmp_path / "in"),), weights=str(path), output=tmp_path / "out", visualize=True, crops="aligned",
        score_threshold=0.5,
    )  # fmt: skip
    run(settings, console=console)
    text = console.export_text()
    assert "det.onnx: SCRFD without points; it takes images of 160x96" in text
    assert "off, since not measured with scrfd: --coarse-pass, --box-voting" in text
    table = read_predictions(tmp_path / "out")
    np.testing.assert_allclose(table.boxes, [SCRFD_BOX], atol=0.01)
    assert not table.has_landmarks.any()
    assert len(list((tmp_path / "out" / "viz").iterdir())) == len(list((tmp_path / "out" / "crops").iterdir())) == 1


def _write_graph(path: Path, inputs: dict[str, Any], outputs: dict[str, Any], kind: int = TensorProto.FLOAT) -> Path:
    """A file that gives zeros of some shapes, whatever goes in."""
    nodes = [helper.make_node("ConstantOfShape", [f"{name}.shape"], [name]) for name in outputs]
    constants = [
        helper.make_tensor(f"{name}.shape", TensorProto.INT64, [len(shape)], shape) for name, shape in outputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
    return path


IMAGE = {"data": [1, 3, 64, 96]}


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (IMAGE, {"prob": [1, 1000]}, r"96x64 it puts out prob \(1, 1000\)"),
        ({"a": [1, 3, 64, 64], "b": [1, 4]}, {"y": [1, 4]}, r"it takes a \(1, 3, 64, 64\) float32, b \(1, 4\) float32"),
        ({"data": [4, 3, 64, 64]}, {"y": [4, 4]}, r"it takes data \(4, 3, 64, 64\) float32, and puts out y \(4, 4\)"),
        ({"data": [1, 1, 64, 64]}, {"y": [1, 4]}, r"it takes data \(1, 1, 64, 64\)"),
        ({"data": [1, 3, 64, "w"]}, {"y": [1, 4]}, r"it takes data \(1, 3, 64, \?\)"),
        (IMAGE, {"loc": [255, 14], "conf": [255, 2], "iou": [255, 1]}, r"loc \(255, 14\), conf \(255, 2\), iou"),
        (
            IMAGE,
            {f"o{i}": [rows, k] for i, (rows, k) in enumerate([(96, 1), (24, 1), (6, 1)] * 2 + [(96, 4)] * 3)},
            "o8",
        ),
    ],
)
def test_other_networks_are_refused_with_what_was_found(
    tmp_path: Path, inputs: dict[str, Any], outputs: dict[str, Any], message: str
) -> None:
    path = _write_graph(tmp_path / "other.onnx", inputs, outputs)
    with pytest.raises(CheckpointError, match=message) as caught:
        FaceDetector.load(path)
    for part in ("other.onnx: no network that this tool can use", "retinaface export", "SCRFD", "YuNet"):
        assert part in str(caught.value)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"broken.onnx: ONNX Runtime cannot open it"):
        FaceDetector.load(tmp_path / "broken.onnx")
    with pytest.raises(CheckpointError, match=r"broken.onnx: OpenVINO cannot read it"):
        FaceDetector.load(tmp_path / "broken.onnx", backend="openvino")
    (tmp_path / "alone.xml").write_text("<net/>")
    with pytest.raises(CheckpointError, match=r"alone.bin"):
        FaceDetector.load(tmp_path / "alone.xml")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(CheckpointError, match=r"folder.onnx: is a folder"):
        FaceDetector.load(tmp_path / "folder.onnx")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "torch"}, "is run by backend onnx or openvino, not by torch"),
        ({"preprocessing": "mean-bgr"}, "leave --preprocessing and --anchors out"),
        ({"device": "cuda"}, "CUDA devices|runs on the CPU"),
        ({"precision": "bf16", "backend": "onnx"}, "32 bits, not in bf16"),
        ({"precision": "16"}, "precision 16 needs a GPU"),
        ({"precision": "16", "backend": "openvino"}, "precision 16 needs a GPU"),
    ],
)
def test_options_that_a_file_does_not_take_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = write_scrfd(tmp_path / "det.onnx")
    with pytest.raises(SettingsError, match=message):
        FaceDetector.load(path, **options)


def test_a_file_of_several_parts_is_known_by_all_of_them(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "det.onnx")
    weights = FaceDetector.load(path).weights
    assert isinstance(weights, NetworkFile)
    assert weights.files == (path,)
    assert NetworkFile(tmp_path / "a.xml", weights.family, None, "").files == (tmp_path / "a.xml", tmp_path / "a.bin")


@pytest.mark.shared
@in_both_runtimes
def test_the_published_yunet_file_finds_what_our_network_finds(shared: Path, backend: Backend) -> None:
    options: dict[str, Any] = {"score_threshold": 0.1, "coarse_pass": False, "box_voting": False}
    graph = FaceDetector.load(shared / "weights" / "yunet_n_dynamic.onnx", backend=backend, **options)
    network = FaceDetector.load(shared / "weights" / "yunet_n.pth", device="cpu", backend="torch", **options)
    for path in sorted((shared / "data" / "wider_dev" / "WIDER_val" / "images").rglob("*.jpg"))[::100]:
        found, wanted = graph.detect(path), network.detect(path)
        assert len(found) == len(wanted) > 0
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-3)
        np.testing.assert_allclose(found.boxes, wanted.boxes, atol=0.1)
