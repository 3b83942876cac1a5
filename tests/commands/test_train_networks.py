"""`train` with other networks and backbones than the usual ones, and `infer` with what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.model.loss import FaceLoss
from retinaface_cli.model.matching.targets import FaceTargets
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.loss import AtssMatchingSettings, LossSettings
from retinaface_cli.settings.network import NetworkSettings
from retinaface_cli.training.run_folder import RunFolder
from tests.commands.training_runs import read_report, train_small, write_data

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]

YUNET = NetworkSettings(network="yunet")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config of a small run, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return write_data(tmp_path)


def find_in_first_image(weights: Path) -> int:
    """Number of faces with a score above 0, from the weights file alone."""
    detector = FaceDetector.load(weights, device="cpu", score_threshold=0.0, backend="torch")
    return len(detector.detect(load_rgb(Path("images/0.png"))))


def test_yunet_is_trained_and_trained_on_and_finds_faces_without_a_config(config: Path) -> None:
    train_small(config, output="first", changes={"network.network": "yunet"})
    best = Path("first/best.safetensors")
    assert load_weights(best).network == YUNET
    assert (
        "loss.matching: atss, as yunet has one anchor a cell for faces of many sizes"
        in read_report(Path("first"))["start"]
    )
    assert find_in_first_image(best) > 0
    train_small(config, output="second", weights=str(best), changes={"loss.matching.name": "iou"})
    start = read_report(Path("second"))["start"]
    assert start[0].startswith("172 of 172 weights")
    assert not any("loss.matching" in note for note in start)


@pytest.mark.parametrize(("side", "stride"), [(10, 8), (40, 8), (80, 16), (160, 32), (300, 32)])
def test_yunets_anchors_are_matched_with_faces_of_five_times_their_side(side: int, stride: int) -> None:
    grid = 512 // stride
    middle = (grid // 2 + 0.5) * stride
    box = torch.tensor([[middle - side / 2, middle - side / 2, middle + side / 2, middle + side / 2]])
    targets = FaceTargets(
        boxes=box,
        landmarks=box.new_full((1, 5, 2), middle),
        has_landmarks=torch.ones(1, 5, dtype=torch.bool),
        ignore=torch.zeros(1, dtype=torch.bool),
        image_index=torch.zeros(1, dtype=torch.long),
    )
    loss = FaceLoss(LossSettings(matching=AtssMatchingSettings()), YUNET)
    counts = [(512 // level) ** 2 for level in (8, 16, 32)]
    first = sum(counts[: (8, 16, 32).index(stride)])
    cell = first + (grid // 2) * grid + grid // 2
    num_anchors = sum(counts)
    deltas = torch.zeros(1, num_anchors, 4)
    deltas[..., 2:] = torch.log(torch.tensor(side / stride)) / 0.2  # the face's size, around the anchor of that stride
    logits = torch.zeros(1, num_anchors, 2)
    logits[..., 1] = -20.0
    logits[0, cell, 1] = 20.0
    outputs = HeadOutputs(logits, deltas, torch.zeros(1, num_anchors, 5, 2))
    found = loss(outputs, targets, image_size=(512, 512))
    logits[0, cell, 1] = -20.0
    missed = loss(outputs, targets, image_size=(512, 512))
    assert missed.classification > found.classification + 1  # the anchor in the face's middle is to be a face


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext"])
def test_a_model_of_timm_is_trained_and_finds_faces_without_a_config(config: Path, model: str) -> None:
    pytest.importorskip("timm")
    train_small(config, output="run", changes={"network.backbone": f"timm/{model}", "trainer.max_epochs": 1})
    assert load_weights(Path("run/best.safetensors")).network.backbone == f"timm/{model}"
    assert find_in_first_image(RunFolder(Path("run")).last) > 0
