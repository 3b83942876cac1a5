from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.model.checkpoints.legacy_keys import rename_key
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.backbones import BACKBONES
from retinaface_cli.model.networks.inference import fold_batch_norm
from retinaface_cli.model.networks.retinaface import RetinaFace
from retinaface_cli.settings.network import AnchorSettings, NetworkSettings
from tests.model.reference_weights import draw_weights, to_old_names


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_gives_one_output_an_anchor(backbone: str) -> None:
    settings = NetworkSettings.model_validate({"backbone": backbone})
    network = build_network(settings).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(2, 3, 65, 97))
    num_anchors = len(generate_anchors((65, 97), settings.anchors.sizes, settings.anchors.strides))
    assert outputs.class_logits.shape == (2, num_anchors, 2)
    assert outputs.box_deltas.shape == (2, num_anchors, 4)
    assert outputs.landmark_deltas.shape == (2, num_anchors, 5, 2)


def test_each_level_has_as_many_anchors_a_cell_as_it_has_sizes() -> None:
    anchors = AnchorSettings(sizes=((10.0, 16.0, 24.0), (32.0,), (96.0, 128.0)))
    network = build_network(NetworkSettings(anchors=anchors)).eval()
    with torch.inference_mode():
        outputs = network(torch.zeros(1, 3, 32, 32))
    assert outputs.class_logits.shape == (1, 3 * 16 + 4 + 2 * 1, 2)
    assert len(generate_anchors((32, 32), anchors.sizes, anchors.strides)) == 54


@pytest.mark.parametrize(("backbone", "num_parameters"), [("mobilenet0.25", 426_608), ("resnet50", 27_293_600)])
def test_the_number_of_parameters_is_that_of_the_old_networks(backbone: str, num_parameters: int) -> None:
    network = build_network(NetworkSettings.model_validate({"backbone": backbone}))
    assert sum(parameter.numel() for parameter in network.parameters()) == num_parameters


@pytest.mark.shared
@pytest.mark.parametrize(("backbone", "old_name"), [("mobilenet0.25", "mobilenet0.25"), ("resnet50", "Resnet50")])
def test_outputs_equal_those_of_the_old_networks(shared: Path, backbone: str, old_name: str) -> None:
    network = build_network(NetworkSettings.model_validate({"backbone": backbone})).eval()
    ours = network.state_dict()
    shapes = {old: ours[key].shape for key, old in to_old_names(ours).items()}
    drawn = {rename_key(old): value for old, value in draw_weights(shapes).items()}
    missing, unexpected = network.load_state_dict(drawn, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    with np.load(shared / "reference" / "network_outputs.npz") as recorded:
        image = torch.from_numpy(recorded[f"{old_name}|image"]).float() - torch.tensor([104.0, 117.0, 123.0])
        with torch.inference_mode():
            outputs = network(image.permute(2, 0, 1)[None])
        for name in ("class_logits", "box_deltas", "landmark_deltas"):
            expected = recorded[f"{old_name}|{name}"]
            found = getattr(outputs, name)[0].reshape(expected.shape).numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("backbone", ["mobilenet0.25", "mobilenet_v2", "resnet18"])
def test_folding_changes_no_output(backbone: str) -> None:
    torch.manual_seed(0)
    network = build_network(NetworkSettings.model_validate({"backbone": backbone}))
    images = torch.randn(2, 3, 64, 64)
    network.train()
    network(images)  # gives BatchNorm statistics that are not the initial ones
    network.eval()
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        for before, after in zip(network(images), folded(images), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_before_training_every_anchor_has_the_prior_probability_of_a_face() -> None:
    anchors = AnchorSettings(sizes=((16, 24, 32), (64,), (256, 384)))
    network = RetinaFace(NetworkSettings(anchors=anchors))
    with torch.no_grad():
        for head in network.class_heads.parameters():
            head.zero_()
        network.set_class_prior(0.02)
        scores = network.eval()(torch.zeros(1, 3, 64, 64)).class_logits.softmax(dim=2)[..., 1]
    torch.testing.assert_close(scores, torch.full_like(scores, 0.02))
