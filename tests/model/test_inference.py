"""Networks made ready to run against the same networks as they are trained."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.inference import InferenceNetwork, OneDnnConvolution, PairMaxima, use_pair_maxima
from retinaface_cli.settings.network import PREPROCESSINGS, NetworkSettings

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("preprocessing", PREPROCESSINGS)
@torch.inference_mode()
def test_a_batch_is_pixels_less_the_mean_rounded_once_and_zero_beyond_each_image(
    preprocessing: str, dtype: torch.dtype
) -> None:
    settings = NetworkSettings(preprocessing=PREPROCESSINGS[preprocessing])
    prepared = InferenceNetwork(build_network(settings).eval(), settings, device=CPU, dtype=dtype)
    seen: list[Tensor] = []
    prepared.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    random = np.random.default_rng(2)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in [(40, 64), (64, 33)]]
    prepared(images)
    wanted = torch.zeros(2, 64, 64, 3)
    for row, image in zip(wanted, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = torch.from_numpy(image) - prepared.mean
    assert seen[0].dtype == dtype
    assert seen[0].equal(wanted.permute(0, 3, 1, 2).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pair_maxima_are_max_pooling(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 5, 8, 12, generator=torch.Generator().manual_seed(3)).to(dtype)
    for one in (maps, maps.to(memory_format=torch.channels_last), maps[:, :, :7], maps[..., :11]):
        assert PairMaxima(2)(one).equal(nn.MaxPool2d(2)(one))


def test_only_pooling_of_two_by_two_becomes_pair_maxima() -> None:
    pool = nn.MaxPool2d
    others = [
        pool(2, 1),
        pool(2, padding=1),
        pool(2, dilation=2),
        pool(2, ceil_mode=True),
        pool(2, return_indices=True),
    ]
    network = nn.Sequential(pool(2), pool(3, 2, 1), nn.AvgPool2d(2), *others)
    use_pair_maxima(network)
    assert [type(layer) is PairMaxima for layer in network] == [True, *[False] * 7]
