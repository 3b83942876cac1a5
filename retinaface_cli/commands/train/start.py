"""The network that a training starts from: random, with an ImageNet backbone, or from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.errors import CheckpointError, SettingsError, some_of
from retinaface_cli.model.checkpoints.files import read_training_state, read_weight_file
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_imagenet_backbone, load_weights, read_network
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.outputs import FaceNetwork
from retinaface_cli.settings.base import assign, flatten, validate_settings
from retinaface_cli.settings.loss import AtssMatchingSettings, CrossEntropySettings, LossSettings
from retinaface_cli.settings.network import NetworkSettings
from retinaface_cli.settings.training import TrainSettings

_MAX_LISTED = 6
_FACE_PRIOR = 0.01
"""Share of anchors taken for faces by an untrained network, as in the focal loss paper (Lin et al., 2017, 4.1)."""

PACKAGED_WEIGHTS = "mobilenet0.25"

_STATE_KEYS = ("state_dict", "optimizer_states", "lr_schedulers", "loops")
"""What Lightning needs of a checkpoint to go on."""

_FIXED = ("network.", "weights", "backbone_weights", "optimizer.name", "optimizer.decay_norm_and_bias", "ema.enabled")
"""Settings that a training which goes on cannot change; all others are in force from its next step."""


class Start(NamedTuple):
    """Where a training starts.

    Attributes:
        network: with its start weights.
        settings: with the network's settings filled in from the checkpoint.
        notes: what was loaded and what starts anew, for the user.
        step: number of optimizer steps done already; None: a fresh run.
    """

    network: FaceNetwork
    settings: TrainSettings
    notes: tuple[str, ...]
    step: int | None = None


def build_start(settings: TrainSettings) -> Start:
    """Builds the network that the settings describe and gives it its start weights.

    Raises:
        CheckpointError: the weights cannot be found or used.
    """
    if not {"weights", "backbone_weights", "network"} & settings.model_fields_set:
        start = build_start(settings.model_copy(update={"weights": PACKAGED_WEIGHTS}))
        note = f"no weights are named, so training starts from the detector in the package ({PACKAGED_WEIGHTS})"
        return start._replace(notes=(note, *start.notes))
    if settings.weights is not None:
        return _start_from_checkpoint(settings, load_weights(resolve_weights(settings.weights)))
    settings, notes = _choose_matching(settings, settings.network)
    network = _build_untrained(settings.network, settings.loss)
    if settings.backbone_weights == "none":
        return Start(network, settings, ("all weights start at random", *notes))
    path = settings.backbone_weights if isinstance(settings.backbone_weights, Path) else None
    state = load_imagenet_backbone(settings.network.backbone, path)
    network.backbone.load_state_dict(state, strict=False)  # it has been checked; only counters are missing
    source = path or "torchvision's ImageNet weights"
    return Start(network, settings, (f"backbone from {source}; pyramid, context and heads start anew", *notes))


def restart(settings: TrainSettings, checkpoint: Path) -> Start:
    """The network of a training that goes on; its weights are put in with all the rest of the state.

    Raises:
        CheckpointError: the file is no complete training checkpoint of this tool.
        SettingsError: a setting differs that the checkpoint fixes.
    """
    metadata = read_weight_file(checkpoint).metadata
    training = metadata.get("training")
    if "network" not in metadata or not isinstance(training, dict) or not {"step", "epoch"} <= training.keys():
        raise CheckpointError(f"{checkpoint}: is no training checkpoint of retinaface; to start from its weights: -w")
    content = read_training_state(checkpoint)
    missing = [key for key in _STATE_KEYS if not content.get(key)]
    if missing:
        raise CheckpointError(
            f"{checkpoint}: holds no {', '.join(missing)}, so training cannot go on; to start from its weights: -w"
        )
    network = read_network(metadata["network"], source=str(checkpoint))
    resolved, _ = _choose_matching(settings.model_copy(update={"network": network}), network)
    before = dict(flatten(metadata.get("settings", {})))
    named = dict(flatten({"network": settings.network.model_dump(mode="json", exclude_unset=True)}))
    now = dict(flatten(resolved.model_dump(mode="json"))) | named
    changed = [key for key in now if key in before and before[key] != now[key]]
    fixed = [f"{key}: {before[key]} -> {now[key]}" for key in changed if key.startswith(_FIXED)]
    if fixed:
        raise SettingsError(
            f"--resume {checkpoint}: cannot change {'; '.join(fixed)}; to start a fresh run from its weights: "
            f"-w {checkpoint} without --resume"
        )
    notes = [f"goes on after step {training['step']}, in epoch {training['epoch']}, from {checkpoint}"]
    notes += [f"changed since: {key}: {before[key]} -> {now[key]}" for key in changed]
    return Start(build_network(network), resolved, tuple(notes), training["step"])


def _build_untrained(settings: NetworkSettings, loss: LossSettings) -> FaceNetwork:
    """The network with random weights; for losses over all anchors its first guess is background."""
    network = build_network(settings)
    if not isinstance(loss.classification, CrossEntropySettings):
        network.set_class_prior(_FACE_PRIOR)
    return network


def _choose_matching(settings: TrainSettings, network: NetworkSettings) -> tuple[TrainSettings, list[str]]:
    """The settings with the matching that the network needs where none is named, and a line on it.

    By a fixed overlap, the one anchor a cell of YuNet would be positive for no face much smaller or larger than it.
    """
    if network.network != "yunet" or "matching" in settings.loss.model_fields_set:
        return settings, []
    loss = settings.loss.model_copy(update={"matching": AtssMatchingSettings()})
    note = "loss.matching: atss, as yunet has one anchor a cell for faces of many sizes"
    return settings.model_copy(update={"loss": loss}), [note]


def _start_from_checkpoint(settings: TrainSettings, loaded: LoadedWeights) -> Start:
    """Takes over every weight that fits."""
    named = settings.network.model_dump(mode="json", exclude_unset=True)
    if named.get("backbone", loaded.network.backbone) != loaded.network.backbone:
        raise CheckpointError(
            f"{loaded.path}: has the backbone {loaded.network.backbone}, but network.backbone is {named['backbone']}; "
            "leave network.backbone out, or start from other weights"
        )
    values = loaded.network.model_dump(mode="json")
    for key, value in flatten(named):
        assign(values, key, value)
    resolved = validate_settings(NetworkSettings, values, source="network")
    settings, matching_notes = _choose_matching(settings, resolved)
    network = _build_untrained(resolved, settings.loss)
    own = network.state_dict()
    fitting = {name: value for name, value in loaded.state.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(fitting, strict=False)
    notes = [f"{len(fitting)} of {len(own)} weights from {loaded.path} ({loaded.family})", *loaded.notes]
    notes += _describe_anew(own, fitting) + _describe_differences(loaded.network, resolved) + matching_notes
    return Start(network, settings.model_copy(update={"network": resolved}), tuple(notes))


def _describe_anew(own: Mapping[str, Tensor], fitting: Mapping[str, Tensor]) -> list[str]:
    """One line on the modules that start anew; empty where there are none."""
    anew = list(dict.fromkeys(name.rpartition(".")[0] for name in own if name not in fitting))
    return [f"start anew, because their shapes differ: {some_of(anew, max_listed=_MAX_LISTED)}"] if anew else []


def _describe_differences(before: NetworkSettings, after: NetworkSettings) -> list[str]:
    """What the config changes that weights do not show by their shapes."""
    notes = []
    if before.anchors != after.anchors:
        notes.append(f"anchors differ: {before.anchors.sizes} so far, {after.anchors.sizes} from now on")
    if before.preprocessing != after.preprocessing:
        notes.append(
            f"preprocessing differs: {_describe(before)} so far, {_describe(after)} from now on; "
            "leave network.preprocessing out unless you mean it"
        )
    return notes


def _describe(network: NetworkSettings) -> str:
    preprocessing = network.preprocessing
    return f"{preprocessing.color_order} - {preprocessing.mean} / {preprocessing.std}"
