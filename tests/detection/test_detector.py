from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image as PillowImage

import retinaface_cli
from retinaface_cli.data.preprocessing import Resizer, load_rgb
from retinaface_cli.detection.backends import resolve_backend, resolve_precision
from retinaface_cli.detection.cpu import CallThreads
from retinaface_cli.detection.detector import FaceDetector, resolve_device
from retinaface_cli.errors import ImageReadError, SettingsError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_weights, save_weights
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.postprocess import postprocess
from retinaface_cli.settings.detection import Backend, DetectionSettings
from retinaface_cli.settings.network import PREPROCESSINGS, NetworkSettings

LOW = DetectionSettings(
    score_threshold=0.3, max_size=None, precision="32", box_voting=False, rescore=False, coarse_pass=False
)

on_every_backend = pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])


def write_random_weights(
    path: Path, *, backbone: str = "mobilenet0.25", preprocessing: str = "mean-bgr", seed: int = 3
) -> Path:
    """Own weights drawn by seed, with outputs that depend on the image; the backbone yunet is that of the network."""
    torch.manual_seed(seed)
    kind = {"network": "yunet"} if backbone == "yunet" else {"backbone": backbone, "out_channels": 16}
    settings = NetworkSettings.model_validate({**kind, "preprocessing": PREPROCESSINGS[preprocessing]})
    network = build_network(settings).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # else the outputs hardly depend on the image
    with torch.no_grad():
        network(torch.randn(2, 3, 128, 128) * 60)  # gives BatchNorm statistics
    save_weights(path, network.state_dict(), network=settings, training={})
    return path


@pytest.fixture(scope="module", params=["mobilenet0.25", "mobilenet_v2", "resnet18", "yunet"])
def weights_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors", backbone=request.param)


def make_detector(weights: LoadedWeights, **changes: Any) -> FaceDetector:
    """A plain detector on the CPU."""
    return FaceDetector(weights, LOW.model_copy(update=changes), device="cpu")


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """A smooth random image."""
    small = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]


def assert_equal_faces(
    found: FaceDetections, expected: FaceDetections, *, pixels: float = 0.01, scores: float = 5e-5
) -> None:
    """The same faces; those of equal scores may come in another order. The scores differ by rounding in 32 bits."""
    assert len(found) == len(expected) > 0
    order = np.abs(found.landmarks[None] - expected.landmarks[:, None]).sum(axis=(2, 3)).argmin(axis=1)
    assert len(set(order)) == len(order)
    np.testing.assert_allclose(found.boxes[order], expected.boxes, atol=pixels)
    np.testing.assert_allclose(found.landmarks[order], expected.landmarks, atol=pixels)
    np.testing.assert_allclose(found.scores, expected.scores, atol=scores)


def plain_faces(path: Path, image: npt.NDArray[np.uint8]) -> FaceDetections:
    """What the network as trained gives for an image that is normalised on its own and not padded."""
    weights = load_weights(path)
    preprocessing = weights.network.preprocessing
    ordered = image if preprocessing.color_order == "rgb" else image[..., ::-1]
    normalised = (ordered.astype(np.float32) - preprocessing.mean) / preprocessing.std
    tensor = torch.from_numpy(normalised.astype(np.float32)).permute(2, 0, 1)[None]
    anchors = weights.network.anchors
    with torch.inference_mode():
        outputs = weights.build()(tensor)
    size = (image.shape[0], image.shape[1])
    return postprocess(outputs, generate_anchors(size, anchors.sizes, anchors.strides), LOW)[0]


@on_every_backend
def test_folding_padding_and_channel_order_change_nothing(weights_path: Path, backend: Backend) -> None:
    detector = make_detector(load_weights(weights_path), backend=backend)
    for size in ((64, 96), (75, 131), (33, 20)):
        image = noise(*size)
        assert_equal_faces(detector.detect_resized([image])[0], plain_faces(weights_path, image))


@on_every_backend
def test_rgb_networks_with_a_standard_deviation_are_folded_too(tmp_path: Path, backend: Backend) -> None:
    path = write_random_weights(tmp_path / "w.safetensors", preprocessing="imagenet-rgb")
    image = noise(70, 90)
    detector = make_detector(load_weights(path), backend=backend)
    assert_equal_faces(detector.detect_resized([image])[0], plain_faces(path, image))


@on_every_backend
def test_faces_do_not_depend_on_the_company_in_a_batch(weights_path: Path, backend: Backend) -> None:
    images = [noise(*size, seed=i) for i, size in enumerate([(75, 131), (64, 96), (90, 130), (75, 131), (33, 20)])]
    detector = make_detector(load_weights(weights_path), backend=backend)
    alone = [detector.detect_resized([image])[0] for image in images]
    for together in (detector.detect_batch(images), detector.detect_resized(images)):
        for image, found, expected in zip(images, together, alone, strict=True):
            assert_equal_faces(clipped(found, image), clipped(expected, image), pixels=0.02, scores=1e-4)


def clipped(faces: FaceDetections, image: npt.NDArray[np.uint8]) -> FaceDetections:
    """The faces with boxes that end at the edges of the image."""
    height, width = image.shape[:2]
    limits = np.array([width, height, width, height], np.float32)
    return FaceDetections(np.clip(faces.boxes, 0, limits), faces.landmarks, faces.scores)


@on_every_backend
def test_threads_that_detect_at_once_are_not_mixed_up(weights_path: Path, backend: Backend) -> None:
    sizes = [(75, 131), (264, 96), (90, 330), (33, 20)]
    images = [noise(*size, seed=i) for i, size in enumerate(sizes)] * 8
    weights = load_weights(weights_path)
    detector = FaceDetector(weights, LOW.model_copy(update={"backend": backend}), device="cpu", in_parallel=True)
    alone = [detector.detect_resized([image])[0] for image in images[: len(sizes)]]
    with CallThreads(4) as threads:
        together = list(threads.map(lambda image: detector.detect_resized([image])[0], images))
    for found, expected in zip(together, alone * 8, strict=True):
        assert_equal_faces(found, expected)


def test_detections_are_in_pixels_of_the_original_image_and_inside_it(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    large = noise(192, 256)
    small = make_detector(load_weights(path)).detect(Resizer((192, 256), (96, 128)).resize(large))
    shrunk = make_detector(load_weights(path), max_size=128).detect(large)
    np.testing.assert_allclose(shrunk.boxes / 2, small.boxes, atol=0.01)
    assert shrunk.boxes.min() >= 0
    assert (shrunk.boxes.max(axis=0) <= [256, 192, 256, 192]).all()


def test_a_file_and_an_array_give_the_same(tmp_path: Path) -> None:
    detector = FaceDetector.load(
        write_random_weights(tmp_path / "w.safetensors"),
        device="cpu",
        max_size=160,
        score_threshold=0.3,
        rescore=False,
    )
    cv2.imwrite(str(tmp_path / "x.png"), noise(100, 120))
    assert_equal_faces(detector.detect(tmp_path / "x.png"), detector.detect(load_rgb(tmp_path / "x.png")))


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, image: npt.NDArray[np.uint8]) -> None:
    detector = FaceDetector.load(write_random_weights(tmp_path / "w.safetensors"), device="cpu")
    with pytest.raises(ImageReadError, match=r"\(H, W, 3\) uint8 RGB, got"):
        detector.detect(image)


@on_every_backend
def test_extreme_images_go_through(tmp_path: Path, backend: Backend) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    detector = FaceDetector.load(path, device="cpu", backend=backend, max_size=960)
    for size in ((1, 1), (30, 20_000)):
        assert isinstance(detector.detect(np.zeros((*size, 3), np.uint8)), FaceDetections)
    assert detector.detect_batch([]) == []


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_bfloat16_finds_about_the_same(tmp_path: Path, backend: Backend) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    image = noise(96, 128)
    options: dict[str, Any] = {"device": "cpu", "score_threshold": 0.3, "rescore": False}
    exact = FaceDetector.load(path, **options).detect(image)
    rough = FaceDetector.load(path, precision="bf16", backend=backend, **options).detect(image)
    assert len(exact) >= 5
    np.testing.assert_allclose(rough.scores[:5], exact.scores[:5], atol=0.03)


def test_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="expected auto, cpu, cuda"):
        resolve_device("gpu7")
    with pytest.raises(SettingsError, match="CUDA devices; try cpu"):
        resolve_device("cuda:99")
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(SettingsError, match="16 needs a GPU"):
        FaceDetector.load(write_random_weights(tmp_path / "w.safetensors"), device="cpu", precision="16")


def test_auto_takes_the_fastest_backend_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert resolve_backend("auto", cpu, "32") == "openvino"
    assert resolve_backend("auto", cpu, "32", in_parallel=True) == "onnx"
    assert resolve_backend("auto", cpu, "bf16", in_parallel=True) == "openvino"
    assert resolve_backend("auto", gpu, "32", in_parallel=True) == "torch"
    assert resolve_backend("torch", cpu, "32") == "torch"
    with pytest.raises(SettingsError, match="openvino runs on the CPU, not on cuda"):
        resolve_backend("openvino", gpu, "32")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else name)
    assert resolve_backend("auto", cpu, "32") == "onnx"
    assert resolve_backend("auto", cpu, "bf16") == "torch"
    with pytest.raises(SettingsError, match=r"pip install 'retinaface-cli\[openvino\]'"):
        resolve_backend("openvino", cpu, "32")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert resolve_backend("auto", cpu, "32") == "torch"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"avx512_f": True, "avx512_bf16": False}, "32"),
        ({}, "32"),
    ],
)
def test_auto_takes_bf16_where_the_cpu_multiplies_in_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities, raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert resolve_precision("auto", cpu, "auto") == expected
    assert resolve_precision("auto", cpu, "onnx") == resolve_precision("auto", gpu, "auto") == "32"
    assert resolve_precision("32", cpu, "auto") == "32"


def test_a_torch_that_cannot_tell_computes_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.cpu.get_capabilities", raising=False)
    assert resolve_precision("auto", torch.device("cpu"), "auto") == "32"


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnx"])
def test_a_detector_says_what_runs_its_network(tmp_path: Path, backend: Backend) -> None:
    weights = write_random_weights(tmp_path / "w.safetensors")
    description = FaceDetector.load(weights, device="cpu", backend=backend).description
    assert description == {"torch": "torch, 32", "openvino": "OpenVINO, 32", "onnx": "ONNX Runtime, 32"}[backend]


def test_onnx_runtime_computes_in_32_bits_only(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="32 bits, not in bf16"):
        FaceDetector.load(
            write_random_weights(tmp_path / "w.safetensors"), device="cpu", backend="onnx", precision="bf16"
        )


def test_signals_are_survived_after_detectors_have_come_and_gone(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    code = (
        "import os, signal, sys\n"
        "from retinaface_cli import FaceDetector\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('received'))\n"
        "load = lambda: FaceDetector.load(sys.argv[1], device='cpu', backend='openvino')\n"
        "first, second = load(), load()\n"
        "del first\n"
        "del second\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "received\n"), done.stderr


def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    code = (
        "import sys, openvino_telemetry\n"
        "from retinaface_cli import FaceDetector\n"
        "def refuse(*_, **__):\n"
        "    print('a message was sent')\n"
        "openvino_telemetry.Telemetry.send_event = openvino_telemetry.Telemetry.start_session = refuse\n"
        "FaceDetector.load(sys.argv[1], device='cpu', backend='openvino')\n"
        "assert sys.modules['openvino_telemetry'] is openvino_telemetry\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_public_names_come_from_the_package() -> None:
    assert retinaface_cli.FaceDetector is FaceDetector
    assert retinaface_cli.FaceDetections is FaceDetections
    for name in retinaface_cli.__all__:
        assert getattr(retinaface_cli, name) is not None
    with pytest.raises(AttributeError):
        _ = retinaface_cli.absent


def test_boxes_are_voted_on_unless_told_otherwise(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    image = noise(100, 160)
    voted = FaceDetector.load(path, device="cpu", score_threshold=0.3, rescore=False).detect(image)
    plain = FaceDetector.load(path, device="cpu", score_threshold=0.3, box_voting=False, rescore=False).detect(image)
    np.testing.assert_array_equal(voted.scores, plain.scores)
    assert not np.allclose(voted.boxes, plain.boxes, atol=0.1)


def test_the_old_packages_interface_gives_rounded_lists(tmp_path: Path) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    model = retinaface_cli.get_model(str(path), max_size=160, device="cpu").eval()
    image = noise(100, 160)
    jsons = model.predict_jsons(image, confidence_threshold=0.3, nms_threshold=0.4)
    detector = FaceDetector.load(path, device="cpu", max_size=160, score_threshold=0.3, box_voting=False, rescore=False)
    faces = detector.detect(image)
    assert len(jsons) == len(faces) > 0
    assert set(jsons[0]) == {"bbox", "score", "landmarks"}
    assert jsons[0]["score"] == round(float(faces.scores[0]), 2)
    np.testing.assert_allclose(jsons[0]["landmarks"], faces.landmarks[0], atol=0.0051)
    assert model.predict_jsons(image, confidence_threshold=1.0) == [{"bbox": [], "score": -1, "landmarks": []}]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> FaceDetector:
    """A detector that finds several faces in noise."""
    path = write_random_weights(tmp_path_factory.mktemp("detector") / "w.safetensors")
    return FaceDetector.load(path, device="cpu", score_threshold=0.3, rescore=False)


def test_views_with_negative_strides_are_images(detector: FaceDetector) -> None:
    image = noise(96, 128)
    for view in (image[..., ::-1], image[::-1], image[:, ::-1], image[::2, ::-2]):
        assert_equal_faces(detector.detect(view), detector.detect(view.copy()))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_pil_images_are_converted(detector: FaceDetector, mode: str) -> None:
    image = PillowImage.fromarray(noise(96, 128)).convert(mode)
    assert_equal_faces(detector.detect(image), detector.detect(np.asarray(image.convert("RGB"))))


def test_pil_images_are_turned_upright(detector: FaceDetector) -> None:
    image = PillowImage.fromarray(noise(96, 128))
    image.getexif()[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(noise(96, 128), k=-1))
    assert_equal_faces(detector.detect(image), detector.detect(turned))


def test_a_batch_may_mix_paths_texts_and_arrays(detector: FaceDetector, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    cv2.imwrite(str(path), noise(96, 128)[..., ::-1])
    expected = detector.detect(noise(96, 128))
    for found in detector.detect_batch([path, str(path), noise(96, 128)]):
        assert_equal_faces(found, expected)


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_instead_of_a_list_is_named(detector: FaceDetector, kind: type) -> None:
    with pytest.raises(ImageReadError, match="expected a list of images"):
        detector.detect_batch(kind("photo.jpg"))


@pytest.mark.parametrize("image", [None, b"bytes", 5, [[1, 2], [3, 4]]])
def test_what_is_no_image_is_named(detector: FaceDetector, image: object) -> None:
    with pytest.raises(ImageReadError, match=rf"\(H, W, 3\) uint8 RGB, got {type(image).__name__}"):
        detector.detect(image)


@on_every_backend
def test_a_pickled_detector_finds_the_same(tmp_path: Path, backend: Backend) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    first = FaceDetector.load(path, device="cpu", backend=backend, score_threshold=0.3, rescore=False)
    second = pickle.loads(pickle.dumps(first))
    assert second.description == first.description
    assert_equal_faces(second.detect(noise(96, 128)), first.detect(noise(96, 128)))


def test_a_max_size_of_0_leaves_images_as_they_are(detector: FaceDetector) -> None:
    unlimited = detector.with_settings(max_size=0)
    assert unlimited.target_size(noise(70, 90)) == (70, 90)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_threshold": 1.5}, "score_threshold: .*got 1.5"),
        ({"score_threshold": float("nan")}, "score_threshold: .*got nan"),
        ({"nms_iou_threshold": -0.1}, "nms_iou_threshold: .*got -0.1"),
        ({"max_size": -5}, "max_size: .*got -5"),
        ({"keep_top_k": 0}, "keep_top_k: .*got 0"),
        ({"confidence_threshold": 0.5}, "confidence_threshold: unknown setting; did you mean score_threshold"),
    ],
)
def test_options_out_of_range_are_one_clear_error(
    detector: FaceDetector, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        FaceDetector.load(write_random_weights(tmp_path / "w.safetensors"), device="cpu", **options)
    with pytest.raises(SettingsError, match=message):
        detector.with_settings(**options)


@pytest.mark.parametrize("rescore", [False, True])
def test_with_settings_turns_rescoring_on_and_off(tmp_path: Path, rescore: bool) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    options: dict[str, Any] = {"device": "cpu", "score_threshold": 0.3}
    changed = FaceDetector.load(path, rescore=not rescore, **options).with_settings(rescore=rescore)
    loaded = FaceDetector.load(path, rescore=rescore, **options)
    assert_equal_faces(changed.detect(noise(96, 128)), loaded.detect(noise(96, 128)))


@pytest.mark.parametrize("changes", [{"backend": "torch"}, {"precision": "bf16"}, {"weights": "other.pth"}])
def test_with_settings_refuses_what_needs_another_network(tmp_path: Path, changes: dict[str, str]) -> None:
    path = write_random_weights(tmp_path / "w.safetensors")
    detector = FaceDetector.load(path, device="cpu", backend="openvino")
    with pytest.raises(SettingsError, match=f"{next(iter(changes))}: .*FaceDetector.load"):
        detector.with_settings(**changes)
