"""Networks made ready to run against the same networks as they are trained."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.inference import InferenceNetwork, OneDnnConvolution
from retinaface_cli.settings.network import NetworkSettings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "values", [{"backbone": "mobilenet0.25"}, {"backbone": "resnet18"}, {"network": "yunet"}], ids=str
)
@torch.inference_mode()
def test_on_one_thread_no_convolution_takes_torchs_slow_way_and_outputs_are_those_of_training(
    values: dict[str, str],
) -> None:
    settings = NetworkSettings.model_validate(values)
    torch.manual_seed(1)
    network = build_network(settings).eval()
    prepared = InferenceNetwork(network, settings, device=CPU, dtype=torch.float32)
    image = np.random.default_rng(1).integers(0, 256, (96, 160, 3), np.uint8)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            outputs, _ = prepared([image])
    finally:
        torch.set_num_threads(num_threads)
    assert not [event.key for event in profile.key_averages() if "slow_conv" in event.key]
    ordered = image if settings.preprocessing.color_order == "rgb" else image[..., ::-1].copy()
    planes = torch.from_numpy(ordered).float().permute(2, 0, 1)[None]
    mean, std = (
        torch.tensor(numbers)[:, None, None] for numbers in (settings.preprocessing.mean, settings.preprocessing.std)
    )
    for given, wanted in zip(outputs, network((planes - mean) / std), strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_without_onednns_fused_convolution_torchs_own_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = NetworkSettings.model_validate({"network": "yunet"})
    torch.manual_seed(1)
    network = build_network(settings).eval()
    image = np.random.default_rng(1).integers(0, 256, (96, 160, 3), np.uint8)
    wanted, _ = InferenceNetwork(network, settings, device=CPU, dtype=torch.float32)([image])
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    plain = InferenceNetwork(network, settings, device=CPU, dtype=torch.float32)
    assert not any(isinstance(module, OneDnnConvolution) for module in plain.modules())
    for given, expected in zip(plain([image])[0], wanted, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
