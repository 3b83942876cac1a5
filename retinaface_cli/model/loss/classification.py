"""Losses on face or background. All take the margin of the two logits, whose sigmoid is the face's probability."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.model.matching.targets import Matches, Positives
from retinaface_cli.settings.loss import (
    ClassificationLossSettings,
    CrossEntropySettings,
    FocalSettings,
    QualityFocalSettings,
)


class LossSum(NamedTuple):
    """A loss before it is normalised.

    Attributes:
        total: () sum over the batch of one process.
        divisor: () what it is to be divided by, once summed over all processes.
    """

    total: Float[Tensor, ""]
    divisor: Float[Tensor, ""]


@runtime_checkable
class ClassificationLoss(Protocol):
    """A loss on face or background."""

    wants_quality: bool
    """Whether it reads the quality of the positives."""

    def __call__(self, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives) -> LossSum:
        """The loss of a batch.

        Args:
            margins: logit of face minus logit of background.
            matches: what each anchor is to learn.
            positives: its positives; their quality is measured where wants_quality says so.
        """


class HardNegativeCrossEntropy:
    """Cross-entropy over the positives and the hardest negatives of each image; see CrossEntropySettings.

    An image counts in the normaliser with its positives; with fewer than min_negatives ask for, as if it had enough.
    """

    wants_quality = False

    def __init__(self, settings: CrossEntropySettings) -> None:
        self.settings = settings

    def __call__(self, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives) -> LossSum:
        """The loss of a batch; see ClassificationLoss."""
        ratio = self.settings.negatives_per_positive
        num_positives = (matches.face_index >= 0).sum(dim=1)  # (B,)
        num_negatives = (num_positives * ratio).clamp(min=self.settings.min_negatives).long()
        of_negatives = margins.masked_fill(~matches.is_background, -torch.inf)
        hardest = of_negatives.topk(_num_looked_at(num_negatives, margins.shape[1]), dim=1).values  # (B, K)
        is_taken = torch.arange(hardest.shape[1], device=margins.device) < num_negatives[:, None]
        negative = F.softplus(hardest.masked_fill(~is_taken, -torch.inf)).sum()
        positive = (F.softplus(-margins.flatten()[positives.place]) * positives.is_real).sum()
        divisor = num_positives.clamp(min=self.settings.min_negatives / ratio).sum()
        return LossSum(positive + negative, divisor.to(margins.dtype))


def _num_looked_at(num_negatives: Tensor, num_anchors: int) -> int:
    """How many of the hardest negatives are sorted out: on an accelerator all, since asking would wait for it."""
    if num_negatives.device.type != "cpu":
        return num_anchors
    return min(int(num_negatives.max()), num_anchors)


class FocalLoss:
    """Focal loss over all anchors that are positive or background; see FocalSettings."""

    wants_quality = False

    def __init__(self, settings: FocalSettings) -> None:
        self.settings = settings

    def __call__(self, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives) -> LossSum:
        """The loss of a batch; see ClassificationLoss."""
        alpha, gamma = self.settings.alpha, self.settings.gamma
        background = torch.sigmoid(margins) ** gamma * F.softplus(margins) * matches.is_background
        face = margins.flatten()[positives.place]
        positive = torch.sigmoid(-face) ** gamma * F.softplus(-face) * positives.is_real
        total = alpha * positive.sum() + (1 - alpha) * background.sum()
        return LossSum(total, positives.is_real.sum().to(margins.dtype))


class QualityFocalLoss:
    """Quality focal loss over all anchors that are positive or background; see QualityFocalSettings."""

    wants_quality = True

    def __init__(self, settings: QualityFocalSettings) -> None:
        self.settings = settings

    def __call__(self, margins: Float[Tensor, "B A"], matches: Matches, positives: Positives) -> LossSum:
        """The loss of a batch; see ClassificationLoss."""
        beta = self.settings.beta
        background = torch.sigmoid(margins) ** beta * F.softplus(margins) * matches.is_background
        face = margins.flatten()[positives.place]
        distance = (positives.quality - torch.sigmoid(face)).abs() ** beta
        cross_entropy = F.softplus(face) - positives.quality * face
        positive = distance * cross_entropy * positives.is_real
        return LossSum(positive.sum() + background.sum(), positives.is_real.sum().to(margins.dtype))


def build_classification_loss(settings: ClassificationLossSettings) -> ClassificationLoss:
    """The loss that the settings name."""
    if isinstance(settings, FocalSettings):
        return FocalLoss(settings)
    if isinstance(settings, QualityFocalSettings):
        return QualityFocalLoss(settings)
    return HardNegativeCrossEntropy(settings)
