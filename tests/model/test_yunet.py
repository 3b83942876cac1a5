"""YuNet against its published ONNX file, and by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import decode_boxes, decode_landmarks
from retinaface_cli.model.checkpoints.loading import load_weights, save_weights
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.outputs import HeadOutputs, face_logits
from retinaface_cli.model.networks.yunet import YuNet, logit_of_root
from retinaface_cli.settings.network import PREPROCESSINGS, AnchorSettings, NetworkSettings

STRIDES = (8, 16, 32)
YUNET = NetworkSettings(network="yunet")


def published_names(network: YuNet) -> dict[str, Tensor]:
    """Weights of zeros by the names and shapes of a published file, as the official code builds its network."""
    state: dict[str, Tensor] = {}

    def convolution(name: str, *shape: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.zeros(shape), torch.zeros(shape[0])

    def unit(name: str, inputs: int, outputs: int, *, is_last: bool = False) -> None:
        convolution(f"{name}.conv1", outputs, inputs, 1, 1)
        convolution(f"{name}.conv2", outputs, 1, 3, 3)
        if not is_last:
            norm(f"{name}.bn", outputs)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"], state[f"{name}.running_var"] = torch.ones(channels), torch.ones(channels)
        state[f"{name}.bias"], state[f"{name}.running_mean"] = torch.zeros(channels), torch.zeros(channels)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1)

    convolution("backbone.model0.conv1", 16, 3, 3, 3)
    norm("backbone.model0.bn1", 16)
    unit("backbone.model0.conv2", 16, 16)
    for stage, channels in zip(range(1, 6), (16, 64, 64, 64, 64), strict=True):
        unit(f"backbone.model{stage}.conv1", channels, channels)
        unit(f"backbone.model{stage}.conv2", channels, 64)
    for level in range(3):
        unit(f"neck.lateral_convs.{level}", 64, 64)
        unit(f"bbox_head.multi_level_share_convs.{level}.0", 64, 64)
        for head, values in (("cls", 1), ("bbox", 4), ("obj", 1), ("kps", 10)):
            unit(f"bbox_head.multi_level_{head}.{level}", 64, values, is_last=True)
    assert len(state) == len(network.state_dict()) + 3 * 3 * 4  # three more heads a level
    return state


def faces_of(outputs: HeadOutputs, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (A,), boxes (A, 4) and points (A, 5, 2) of the first image, in the order of the anchors."""
    anchors = generate_anchors(size, YUNET.anchors.sizes, STRIDES)
    boxes = decode_boxes(outputs.box_deltas[0], anchors)
    return torch.sigmoid(face_logits(outputs))[0], boxes, decode_landmarks(outputs.landmark_deltas[0], anchors)


def test_it_has_as_many_parameters_as_its_paper_says() -> None:
    assert sum(parameter.numel() for parameter in build_network(YUNET).parameters()) == 75_856


def test_it_has_settings_of_its_own_where_none_are_named() -> None:
    assert YUNET.anchors.sizes == ((8,), (16,), (32,))
    assert (YUNET.backbone, YUNET.preprocessing) == ("yunet", PREPROCESSINGS["raw-bgr"])
    assert YUNET.model_fields_set == {"network"}
    anchors = AnchorSettings(sizes=((8, 12), (16, 24), (32, 64)))
    named = NetworkSettings(network="yunet", anchors=anchors, preprocessing=PREPROCESSINGS["mean-bgr"])
    assert (named.anchors, named.preprocessing) == (anchors, PREPROCESSINGS["mean-bgr"])
    with pytest.raises(ValueError, match="backbone yunet alone"):
        NetworkSettings(network="yunet", backbone="resnet18")


def test_published_weights_set_by_hand_give_the_boxes_of_their_formula(tmp_path: Path) -> None:
    state = published_names(YuNet(YUNET))
    for level in range(3):
        heads = f"bbox_head.multi_level_{{}}.{level}.conv2.bias"
        state[heads.format("cls")][:] = 2.0
        state[heads.format("obj")][:] = -1.0
        state[heads.format("bbox")][:] = torch.tensor([0.25, 0.75, 1.0, 0.5])
        state[heads.format("kps")][:] = torch.arange(10) / 10
    torch.save({"state_dict": state, "meta": {"CLASSES": ("FG",)}}, tmp_path / "any.pth")
    loaded = load_weights(tmp_path / "any.pth")
    assert (loaded.network, loaded.family, loaded.notes) == (YUNET, "libfacedetection.train", ())
    with torch.inference_mode():
        scores, boxes, points = faces_of(loaded.build()(torch.zeros(1, 3, 64, 96)), (64, 96))
    assert len(scores) == 12 * 8 + 6 * 4 + 3 * 2
    expected = 1 / np.sqrt((1 + np.exp(-2.0)) * (1 + np.exp(1.0)))
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    # row 1 and column 2 of stride 16: centre (2.25, 1.75) * 16 = (36, 28), sides 16 e and 16 sqrt(e)
    cell = 12 * 8 + 6 + 2
    width, height = 16 * np.exp(1.0), 16 * np.exp(0.5)
    box = [36 - width / 2, 28 - height / 2, 36 + width / 2, 28 + height / 2]
    np.testing.assert_allclose(boxes[cell], box, atol=1e-4)
    offsets = np.arange(10).reshape(5, 2) / 10
    np.testing.assert_allclose(points[cell], (offsets + np.array([2, 1])) * 16, atol=1e-4)


def test_files_with_a_head_missing_or_of_another_width_are_refused(tmp_path: Path) -> None:
    state = published_names(YuNet(YUNET))
    without = {name: value for name, value in state.items() if name != "bbox_head.multi_level_kps.1.conv2.bias"}
    torch.save(without, tmp_path / "without.pth")
    with pytest.raises(CheckpointError, match=r"without bbox_head\.multi_level_kps\.1\.conv2\.bias"):
        load_weights(tmp_path / "without.pth")
    torch.save({**state, "backbone.model1.conv2.conv1.weight": torch.zeros(32, 16, 1, 1)}, tmp_path / "narrow.pth")
    with pytest.raises(CheckpointError, match=r"of another shape: backbone\.stages\.1\.1\.0\.weight \(32, 16, 1, 1\)"):
        load_weights(tmp_path / "narrow.pth")
    torch.save(state, tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match="own preprocessing and anchors"):
        load_weights(tmp_path / "whole.pth", preprocessing="mean-bgr")


@pytest.mark.parametrize(("first", "second"), [(0.3, -0.7), (12.0, 9.0), (-11.0, 4.0), (50.0, 60.0), (-200.0, 3.0)])
def test_the_logit_of_the_root_keeps_its_digits_at_both_ends(first: float, second: float) -> None:
    exact = [torch.tensor(min(max(value, -30), 30), dtype=torch.float64) for value in (first, second)]
    root = (torch.sigmoid(exact[0]) * torch.sigmoid(exact[1])).sqrt()
    logits = [torch.tensor(value, requires_grad=True) for value in (first, second)]
    found = logit_of_root(*logits)
    if root < 1 - 1e-12:  # else float64 has no digits left
        assert float(found.detach()) == pytest.approx(float(torch.log(root) - torch.log1p(-root)), rel=1e-5)
    torch.autograd.backward(found)
    assert all(logit.grad is not None and bool(logit.grad.isfinite()) for logit in logits)
    half = logit_of_root(*(torch.tensor(value, dtype=torch.bfloat16) for value in (first, second)))
    assert half.dtype == torch.float32


def test_before_training_every_cell_has_the_prior_probability_of_a_face() -> None:
    network = YuNet(NetworkSettings(network="yunet", anchors=AnchorSettings(sizes=((8, 12), (16,), (32, 64)))))
    with torch.no_grad():
        for parameter in network.heads.parameters():
            parameter.zero_()
        network.set_class_prior(0.02)
        outputs = network.eval()(torch.zeros(1, 3, 64, 64))
    scores = torch.sigmoid(face_logits(outputs))
    assert scores.shape == (1, 2 * 64 + 16 + 2 * 4)
    torch.testing.assert_close(scores, torch.full_like(scores, 0.02))


def test_own_files_give_the_network_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(YUNET).eval()
    save_weights(tmp_path / "own.safetensors", network.state_dict(), network=YUNET, training={})
    loaded = load_weights(tmp_path / "own.safetensors")
    assert loaded.network == YUNET
    images = torch.rand(1, 3, 40, 72) * 255
    with torch.inference_mode():
        for found, expected in zip(loaded.build()(images), network(images), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.shared
@pytest.mark.parametrize("size", [(320, 320), (480, 640), (640, 480), (256, 1024), (736, 1120)])
def test_published_weights_give_what_the_published_onnx_file_gives(shared: Path, size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        shared / "weights" / "yunet_n_dynamic.onnx", providers=["CPUExecutionProvider"]
    )
    folder = shared / "data" / "wider_train_small"
    image = cv2.imread(str(sorted(folder.rglob("*.jpg"))[7]))
    assert image is not None
    batch = cv2.resize(image, size[::-1]).astype(np.float32).transpose(2, 0, 1)[None]
    with torch.inference_mode():
        outputs = load_weights(shared / "weights" / "yunet_n.pth").build()(torch.from_numpy(batch))
    scores, boxes, points = faces_of(outputs, size)
    names = [output.name for output in session.get_outputs()]
    theirs = dict(zip(names, session.run(None, {"input": batch}), strict=True))
    first = 0
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        part = slice(first, first + rows * columns)
        first = part.stop
        corners = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
        expected = np.sqrt(theirs[f"cls_{stride}"] * theirs[f"obj_{stride}"])[0, :, 0]
        # its sigmoid gives 0 for probabilities under 1e-7, which are roots under 3e-4
        assert (np.abs(scores[part].numpy() - expected) < np.where(expected > 1e-3, 1e-4, 1e-3)).all()
        box = theirs[f"bbox_{stride}"][0]
        center, half = (corners + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride / 2
        np.testing.assert_allclose(boxes[part], np.hstack([center - half, center + half]), atol=2e-3)
        kps = theirs[f"kps_{stride}"][0].reshape(-1, 5, 2)
        np.testing.assert_allclose(points[part], (corners[:, None] + kps) * stride, atol=2e-3)
    assert first == len(scores)
    assert scores.max() > 0.5
