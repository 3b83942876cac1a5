"""What a detector does beside one plain pass, and for which networks it was measured."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.detection import DetectionSettings

AnyDetectionSettings = TypeVar("AnyDetectionSettings", bound=DetectionSettings)


class MeasuredStages(NamedTuple):
    """Which stages were measured for a network to be worth their time, and are on where settings say nothing."""

    rescore: bool
    coarse_pass: bool
    box_voting: bool


MEASURED: dict[str, MeasuredStages] = {
    "retinaface": MeasuredStages(rescore=True, coarse_pass=True, box_voting=True),
    "yunet": MeasuredStages(rescore=False, coarse_pass=True, box_voting=True),
}
"""By the name of the network; for others nothing was. With box voting, YuNet's AP on 325 images of WIDER FACE train at
640 pixels goes from .908 to .912 at an IoU of .5, and from .659 to .662 at .75. Its coarse pass: see SHARED_SIDES."""

_NOT_MEASURED = MeasuredStages(rescore=False, coarse_pass=False, box_voting=False)


def settle(settings: AnyDetectionSettings, weights: LoadedWeights | NetworkFile) -> AnyDetectionSettings:
    """The settings with all that is left to the network filled in: stages, and the size of images where it is fixed."""
    measured = MEASURED.get(network_name(weights), _NOT_MEASURED)
    changes: dict[str, object] = {
        "rescore": measured.rescore if settings.rescore is None else settings.rescore,
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
    name = network_name(weights)
    measured = MEASURED.get(name, _NOT_MEASURED)
    options = [f"--{stage.replace('_', '-')}" for stage, is_on in measured._asdict().items() if not is_on]
    return f"off, since not measured with {name}: {', '.join(options)}" if options else ""


def network_name(weights: LoadedWeights | NetworkFile) -> str:
    """The name by which a network stands in MEASURED."""
    return weights.family.network if isinstance(weights, NetworkFile) else weights.network.network
