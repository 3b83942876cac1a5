from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from retinaface_cli.training.batch_norm import SynchronizedBatchNorm2d, synchronize_batch_norm


@pytest.fixture
def single_process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("single_process_group")
def test_over_one_process_it_is_batch_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    plain = nn.BatchNorm2d(5, momentum=0.3)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(generator=generator)
    synchronized = SynchronizedBatchNorm2d(5, momentum=0.3)
    synchronized.load_state_dict(plain.state_dict())
    images = torch.randn(4, 5, 6, 7, generator=generator) * 3 + 2
    weights = torch.randn(4, 5, 6, 7, generator=generator)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    for norm, values in zip((plain, synchronized), inputs, strict=True):
        torch.autograd.backward((norm(values) * weights).sum())
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-4, atol=1e-5)
    for own, wanted in zip(synchronized.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, wanted.grad, rtol=1e-4, atol=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synchronized.state_dict()[name], value)
    torch.testing.assert_close(synchronized.eval()(images), plain.eval()(images))


def test_conversion_keeps_names_weights_and_everything_else() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.2), nn.ReLU()))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    synchronize_batch_norm(network, device_type="cpu")
    norm = list(network.modules())[3]
    assert isinstance(norm, SynchronizedBatchNorm2d)
    assert (norm.eps, norm.momentum) == (1e-3, 0.2)
    assert network.state_dict().keys() == before.keys()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_on_a_gpu_it_becomes_torchs_own() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4))
    synchronize_batch_norm(network, device_type="cuda")
    assert isinstance(network[0], nn.SyncBatchNorm)
