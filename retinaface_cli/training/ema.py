"""The exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from retinaface_cli.settings.optimization import EmaSettings


class WeightAverage:
    """Moves the weights of one network a little towards those of another after every step.

    The running statistics of BatchNorm are averaged with the weights; counters are copied.
    """

    def __init__(self, settings: EmaSettings) -> None:
        self.settings = settings

    @staticmethod
    def copy_network(network: nn.Module) -> nn.Module:
        """The network that is to hold the average: a copy that is never trained."""
        return copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, *, step: int) -> None:
        """Moves the average.

        Args:
            average: its weights are changed.
            network: the one in training.
            step: number of optimizer steps done, this one included.
        """
        wanted = network.state_dict()
        moved: list[Tensor] = []
        targets: list[Tensor] = []
        for name, value in average.state_dict().items():
            if value.is_floating_point():
                moved.append(value)
                targets.append(wanted[name])
            else:
                value.copy_(wanted[name])
        torch._foreach_lerp_(moved, targets, 1 - self.decay_at(step))

    def decay_at(self, step: int) -> float:
        """The part of the average that step number `step` keeps."""
        return min(self.settings.decay, (1 + step) / (self.settings.warmup_steps + step))
