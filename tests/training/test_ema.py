from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from retinaface_cli.settings.optimization import EmaSettings
from retinaface_cli.training.optimization import decay_at, move_average


def test_weights_and_running_statistics_move_towards_the_network() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = copy.deepcopy(network)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(4)
    move_average(average, network, EmaSettings(decay=0.75), step=1000)
    for name, value in average.state_dict().items():
        moved = before[name] + (4 if name.endswith("num_batches_tracked") else 1)
        torch.testing.assert_close(value, moved)


def test_the_decay_warms_up_so_that_start_weights_are_forgotten() -> None:
    settings = EmaSettings(decay=0.99, warmup_steps=10)
    assert decay_at(1, settings) == pytest.approx(2 / 11)
    assert decay_at(90, settings) == pytest.approx(0.91)
    assert decay_at(100_000, settings) == 0.99
