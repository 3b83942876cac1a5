"""What the network learns from: which anchors belong to which faces, and the three losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from retinaface_cli.settings.base import Settings, by_name


class IouMatchingSettings(Settings):
    """Matching by overlap: an anchor is positive for the face that it overlaps most, if it does so enough."""

    name: Literal["iou"] = "iou"
    """Kind of matching."""

    match_iou_threshold: float = Field(default=0.35, gt=0, le=1)
    """An anchor whose best IoU with a face reaches this is positive for that face."""

    background_iou_threshold: float = Field(default=0.35, gt=0, le=1)
    """An anchor whose best IoU with all faces is under this is background; between the two it is left out."""

    forced_iou_threshold: float = Field(default=0.2, ge=0, le=1)
    """The best anchor of a face is positive whatever the match threshold, if its IoU reaches this."""

    @model_validator(mode="after")
    def _check_order(self) -> IouMatchingSettings:
        if self.background_iou_threshold > self.match_iou_threshold:
            raise ValueError("background_iou_threshold must not be above match_iou_threshold")
        return self


class AtssMatchingSettings(Settings):
    """Adaptive matching (ATSS, Zhang et al., 2020): the nearest anchors of each level, cut at an IoU of their own."""

    name: Literal["atss"] = "atss"
    """Kind of matching."""

    num_nearest: int = Field(default=9, gt=0)
    """Candidates of a face: this many anchors of each level, those with the nearest centres."""


MatchingSettings = Annotated[IouMatchingSettings | AtssMatchingSettings, Field(discriminator="name"), by_name("iou")]


class CrossEntropySettings(Settings):
    """Cross-entropy over the positives and the hardest negatives of each image."""

    name: Literal["cross_entropy"] = "cross_entropy"
    """Kind of classification loss."""

    negatives_per_positive: float = Field(default=7, gt=0)
    """Hard negatives taken from an image for each of its positives."""

    min_negatives: int = Field(default=7, ge=0)
    """Hard negatives taken from an image at least, also from one without faces."""


class FocalSettings(Settings):
    """Focal loss (Lin et al., 2017) over all anchors."""

    name: Literal["focal"] = "focal"
    """Kind of classification loss."""

    alpha: float = Field(default=0.25, gt=0, lt=1)
    """Weight of the positives; the negatives weigh 1 - alpha."""

    gamma: float = Field(default=2.0, ge=0)
    """How fast easy anchors lose weight."""


class QualityFocalSettings(Settings):
    """Quality focal loss (Li et al., 2020) over all anchors: a positive's target is the IoU of its predicted box."""

    name: Literal["quality_focal"] = "quality_focal"
    """Kind of classification loss."""

    beta: float = Field(default=2.0, ge=0)
    """How fast anchors near their target lose weight."""


ClassificationLossSettings = Annotated[
    CrossEntropySettings | FocalSettings | QualityFocalSettings,
    Field(discriminator="name"),
    by_name("cross_entropy"),
]


class SmoothL1Settings(Settings):
    """Smooth L1 on encoded coordinates."""

    name: Literal["smooth_l1"] = "smooth_l1"
    """Kind of loss."""

    beta: float = Field(default=1.0, gt=0)
    """Error, in encoded units, from which the loss is linear."""


class IouLossSettings(Settings):
    """One minus generalized (giou), distance (diou) or complete (ciou) IoU of the decoded box with the face."""

    name: Literal["giou", "diou", "ciou"] = "diou"
    """Kind of loss."""


class WingSettings(Settings):
    """Wing loss (Feng et al., 2018) on encoded points: logarithmic for small errors."""

    name: Literal["wing"] = "wing"
    """Kind of loss."""

    width: float = Field(default=1.0, gt=0)
    """Error, in tenths of the anchor's side, from which the loss is linear."""

    curvature: float = Field(default=0.2, gt=0)
    """Error, in tenths of the anchor's side, at which the logarithm bends: smaller weighs small errors more."""


BoxLossSettings = Annotated[SmoothL1Settings | IouLossSettings, Field(discriminator="name"), by_name("smooth_l1")]

LandmarkLossSettings = Annotated[SmoothL1Settings | WingSettings, Field(discriminator="name"), by_name("smooth_l1")]


class LossWeights(Settings):
    """How much each loss counts in the sum."""

    localization: float = Field(default=2.0, ge=0)
    """Weight of the box loss."""

    classification: float = Field(default=1.0, ge=0)
    """Weight of the classification loss."""

    landmarks: float = Field(default=1.0, ge=0)
    """Weight of the landmark loss."""


class LossSettings(Settings):
    """The loss: its three parts, their weights, and the matching that they rest on."""

    matching: MatchingSettings = IouMatchingSettings()
    """Which anchors are positive, and for which face; kinds: iou, atss."""

    classification: ClassificationLossSettings = CrossEntropySettings()
    """Face or background; kinds: cross_entropy, focal, quality_focal."""

    box: BoxLossSettings = SmoothL1Settings()
    """Boxes of the positives; kinds: smooth_l1, giou, diou, ciou."""

    landmarks: LandmarkLossSettings = SmoothL1Settings()
    """Known points of the positives; kinds: smooth_l1, wing."""

    weights: LossWeights = LossWeights()
    """Weights of the three parts."""
