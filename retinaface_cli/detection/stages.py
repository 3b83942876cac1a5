"""What a detector does beside one plain pass, and for which networks it was measured."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from retinaface_cli.detection.network_files import Family, NetworkFile
from retinaface_cli.detection.rescoring import check_anchors
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.detection import DetectionSettings
from retinaface_cli.settings.network import NetworkSettings

AnyDetectionSettings = TypeVar("AnyDetectionSettings", bound=DetectionSettings)


class MeasuredStages(NamedTuple):
    """What was measured for a network.

    Attributes:
        coarse_pass: whether it is worth its time, and so on where settings say nothing.
        box_voting: likewise.
        shared_sides: of faces on which both passes decide, see coarse_pass.merge_passes; in pixels of the coarse pass.
    """

    coarse_pass: bool
    box_voting: bool
    shared_sides: tuple[float, float] | None = None


MEASURED: dict[str, MeasuredStages] = {
    "retinaface": MeasuredStages(coarse_pass=True, box_voting=True),
    "yunet": MeasuredStages(coarse_pass=True, box_voting=True, shared_sides=(32.0, 64.0)),
}
"""By the name of the network; for others nothing was. With box voting, YuNet's AP on 325 images of WIDER FACE train at
640 pixels goes from .908 to .912 at an IoU of .5, and from .659 to .662 at .75. With the coarse pass, its AP50 on 649
images of the same at 960 pixels goes from .9288 to .9305, and to .9290 where the passes share no sides."""

_NOT_MEASURED = MeasuredStages(coarse_pass=False, box_voting=False)


def settle(settings: AnyDetectionSettings, weights: LoadedWeights | NetworkFile) -> AnyDetectionSettings:
    """The settings with all that is left to the network filled in: stages, and the size of images where it is fixed.

    Raises:
        SettingsError: rescoring is wanted of a network that has no anchors for it.
    """
    if settings.rescore:
        check_anchors(described_by(weights).anchors, network=described_by(weights).network)
    measured = measured_stages(weights)
    changes: dict[str, object] = {
        "coarse_pass": measured.coarse_pass if settings.coarse_pass is None else settings.coarse_pass,
    }
    if settings.box_voting is None and not measured.box_voting:
        changes["box_voting"] = False
    if isinstance(weights, NetworkFile) and weights.image_size is not None:
        longest = max(weights.image_size)
        changes["max_size"] = min(settings.max_size or longest, longest)
    return settings.model_copy(update=changes)


def describe_unmeasured(weights: LoadedWeights | NetworkFile) -> str:
    """Which stages are off for a network where settings say nothing; empty where none is."""
    measured = measured_stages(weights)
    if measured.coarse_pass and measured.box_voting:
        return ""
    return f"off, since not measured with {described_by(weights).network}: --coarse-pass, --box-voting"


def measured_stages(weights: LoadedWeights | NetworkFile) -> MeasuredStages:
    """What was measured for the network of the weights."""
    return MEASURED.get(described_by(weights).network, _NOT_MEASURED)


def described_by(weights: LoadedWeights | NetworkFile) -> NetworkSettings | Family:
    """The description of a network: its name, anchors and preprocessing."""
    return weights.family if isinstance(weights, NetworkFile) else weights.network
