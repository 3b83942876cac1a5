from __future__ import annotations

import pytest
import torch
from torch import nn

from retinaface_cli.settings.optimization import EmaSettings
from retinaface_cli.training.optimization import WeightAverage


def test_weights_and_running_statistics_move_towards_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = WeightAverage.copy_network(network)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    before = {name: value.clone() for name, value in average.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(4)
    WeightAverage(EmaSettings(decay=0.75)).update(average, network, step=1000)
    for name, value in average.state_dict().items():
        moved = before[name] + (4 if name.endswith("num_batches_tracked") else 1)
        torch.testing.assert_close(value, moved)


def test_the_decay_warms_up_so_that_start_weights_are_forgotten() -> None:
    average = WeightAverage(EmaSettings(decay=0.99, warmup_steps=10))
    assert average.decay_at(1) == pytest.approx(2 / 11)
    assert average.decay_at(90) == pytest.approx(0.91)
    assert average.decay_at(100_000) == 0.99
