"""Losses on the landmarks of positives, point by point."""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.settings.loss import LandmarkLossSettings, SmoothL1Settings, WingSettings


@runtime_checkable
class LandmarkLoss(Protocol):
    """A loss on the landmarks of positives."""

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point, from what the network says and what it should say, both encoded."""


class SmoothL1LandmarkLoss:
    """Smooth L1, summed over x and y; see SmoothL1Settings."""

    def __init__(self, settings: SmoothL1Settings) -> None:
        self.settings = settings

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point; see LandmarkLoss."""
        return F.smooth_l1_loss(landmark_deltas, wanted, reduction="none", beta=self.settings.beta).sum(dim=2)


class WingLoss:
    """Wing loss, summed over x and y; see WingSettings."""

    def __init__(self, settings: WingSettings) -> None:
        self.settings = settings
        self._gap = settings.width - settings.width * math.log1p(settings.width / settings.curvature)

    def __call__(self, landmark_deltas: Float[Tensor, "P 5 2"], wanted: Float[Tensor, "P 5 2"]) -> Float[Tensor, "P 5"]:
        """The loss of each point; see LandmarkLoss."""
        width, curvature = self.settings.width, self.settings.curvature
        error = (landmark_deltas - wanted).abs()
        curved = width * torch.log1p(error / curvature)
        return torch.where(error < width, curved, error - self._gap).sum(dim=2)


def build_landmark_loss(settings: LandmarkLossSettings) -> LandmarkLoss:
    """The loss that the settings name."""
    return WingLoss(settings) if isinstance(settings, WingSettings) else SmoothL1LandmarkLoss(settings)
