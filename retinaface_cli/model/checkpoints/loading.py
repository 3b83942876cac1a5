"""Weights files: our own, complete in themselves, and those of the older RetinaFace implementations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.model.checkpoints.files import WeightFile, read_weight_file, write_weight_file
from retinaface_cli.model.checkpoints.legacy_keys import detect_backbone, detect_family, rename_key
from retinaface_cli.model.checkpoints.published import cache_folder, preprocessing_by_sha256
from retinaface_cli.model.checkpoints.yunet_weights import FAMILY as YUNET_FAMILY
from retinaface_cli.model.checkpoints.yunet_weights import convert_yunet, is_yunet
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.backbones import BACKBONES
from retinaface_cli.model.networks.outputs import FaceNetwork
from retinaface_cli.model.networks.timm_backbones import pretrained_state
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.network import PREPROCESSINGS, TIMM_PREFIX, AnchorSettings, NetworkSettings
from retinaface_cli.version import __version__

_NUM_LISTED = 5


@dataclass(frozen=True)
class LoadedWeights:
    """Weights with all that is needed to use them.

    Attributes:
        path: where they came from.
        network: architecture, anchors and preprocessing.
        state: names of our network -> float32 tensors on the CPU.
        family: whose file it is.
        sha256: of the file, in hexadecimal.
        training: what is known of how they were trained (own files only).
        notes: sentences on what had to be assumed, for the user to read.
    """

    path: Path
    network: NetworkSettings
    state: dict[str, Tensor]
    family: str
    sha256: str
    training: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def build(self) -> FaceNetwork:
        """The network with these weights, in evaluation mode."""
        network = build_network(self.network)
        network.load_state_dict(self.state)
        return network.eval()


def load_weights(
    path: Path, *, preprocessing: str | None = None, anchors: AnchorSettings | None = None
) -> LoadedWeights:
    """Reads a weights file of any family.

    Args:
        path: see files.read_weight_file for the containers.
        preprocessing: a name in PREPROCESSINGS; for old files, which do not say. None: known files by their
            sha256, others by the habit of their backbone, with a note.
        anchors: for old files with other anchors than the usual ones, which cannot be seen from the weights.

    Raises:
        CheckpointError: the file cannot be used; the message says what was found and what was expected.
    """
    if path.suffix.lower() in (".onnx", ".xml"):
        raise CheckpointError(
            f"{path}: a network made ready to run, for infer and evaluate; train and export take the weights it is of"
        )
    content = read_weight_file(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if "network" in content.metadata:
        return _load_own(path, content, sha256, preprocessing=preprocessing, anchors=anchors)
    if is_yunet(content.tensors):
        return _load_yunet(path, content, sha256, preprocessing=preprocessing, anchors=anchors)
    return _load_legacy(path, content, sha256, preprocessing=preprocessing, anchors=anchors)


def save_weights(
    path: Path,
    state: Mapping[str, Tensor],
    *,
    network: NetworkSettings,
    training: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Writes a .safetensors file that is complete in itself, whole or not at all.

    Args:
        path: ends in .safetensors.
        state: state dict of our RetinaFace.
        network: goes into the metadata, so that loading needs nothing else.
        training: how the weights came about (settings, data, scores); JSON values.
        half: store convolutions in float16, half the size (variances of raw pixels are beyond its range); loading gives
            float32 again.
    """
    tensors = {
        name: tensor.half() if half and tensor.ndim > 1 else tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    metadata = {"network": network.model_dump(mode="json"), "version": __version__, "training": dict(training)}
    with atomic_path(path) as temporary:
        write_weight_file(temporary, tensors, metadata=metadata)


def load_imagenet_backbone(backbone: str, path: Path | None = None) -> dict[str, Tensor]:
    """ImageNet start weights of a backbone: names relative to the backbone -> tensors.

    Args:
        backbone: a name that find_backbone knows.
        path: a file of them (biubug6's and yakhyo's for MobileNetV1, torchvision's and timm's for their networks);
            None: torchvision's or timm's, downloaded once by that library.

    Raises:
        CheckpointError: no file for a backbone that needs one, a file that does not fit, or no network connection.
    """
    if backbone.startswith(TIMM_PREFIX):
        name = backbone.removeprefix(TIMM_PREFIX)
        return pretrained_state(name, path, cached=cache_folder() / f"{name}.safetensors")
    source = BACKBONES[backbone].imagenet_weights
    if path is not None:
        tensors = read_weight_file(path).tensors
        named = {_with_backbone(rename_key(key)): value for key, value in tensors.items()}
    elif source is None:
        raise CheckpointError(
            f"{backbone}: ImageNet start weights come from a file (for mobilenet0.25 mobilenetV1X0.25_pretrain.tar); "
            "name it in backbone_weights, or set that to none to start from random weights"
        )
    else:
        try:
            tensors = source.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{backbone}: cannot fetch {source.url} ({error}); fetch it by hand and name the file"
            ) from None
        named = {_with_backbone(key): value for key, value in tensors.items()}
    wanted = {f"backbone.{key}" for key in BACKBONES[backbone].build().state_dict()}
    state = {key: value for key, value in named.items() if key in wanted}
    _check_fit(state, {key: None for key in wanted}, source=str(path or backbone))
    return {key.removeprefix("backbone."): value.float() for key, value in state.items() if value.is_floating_point()}


def _with_backbone(key: str) -> str:
    return key if key.startswith("backbone.") else f"backbone.{key}"


def read_network(values: Mapping[str, Any], *, source: str) -> NetworkSettings:
    """The network of a file that this tool wrote, also version 0.1, which could have a further level of stride 4.

    Raises:
        CheckpointError: it has that level.
        SettingsError: the values are not those of a network.
    """
    if 4 in values.get("anchors", {}).get("strides", ()):
        raise CheckpointError(
            f"{source}: has a level of stride 4, which only version 0.1 computes; train again, or take other weights"
        )
    known = {name: value for name, value in values.items() if name != "fine_channels"}
    return validate_settings(NetworkSettings, known, source=source)


def _load_own(
    path: Path, content: WeightFile, sha256: str, *, preprocessing: str | None, anchors: AnchorSettings | None
) -> LoadedWeights:
    """A .safetensors or .ckpt that this tool wrote; it says itself what it is."""
    if preprocessing is not None or anchors is not None:
        raise CheckpointError(
            f"{path}: carries its own preprocessing and anchors; leave --preprocessing and --anchors out"
        )
    metadata = content.metadata
    network = read_network(metadata["network"], source=str(path))
    prefix = metadata.get("weights_prefix", "")
    state = {key.removeprefix(prefix): value for key, value in content.tensors.items() if key.startswith(prefix)}
    return LoadedWeights(
        path=path,
        network=network,
        state=_fitted(state, network, source=str(path)),
        family="retinaface-cli",
        sha256=sha256,
        training=metadata.get("training", {}),
    )


def _load_legacy(
    path: Path, content: WeightFile, sha256: str, *, preprocessing: str | None, anchors: AnchorSettings | None
) -> LoadedWeights:
    """A file of one of the older implementations, recognised by names and shapes."""
    state = {rename_key(key): value for key, value in content.tensors.items()}
    backbone = detect_backbone(state, source=str(path))
    lateral = state.get("pyramid.lateral.0.0.weight")
    if lateral is None:
        raise CheckpointError(
            f"{path}: a bare {backbone} backbone; expected a whole RetinaFace network (fpn, ssh, heads)"
        )
    known = preprocessing_by_sha256(sha256)
    notes = []
    name = preprocessing or known
    if name is None:
        name = BACKBONES[backbone].preprocessing
        other = next(key for key in PREPROCESSINGS if key != name)
        notes.append(
            f"{path.name}: the file does not say how its images were prepared; assuming {name}, the habit of "
            f"{backbone} checkpoints. If faces are missed, try --preprocessing {other}"
        )
    network = NetworkSettings(
        backbone=backbone,
        out_channels=lateral.shape[0],
        anchors=anchors or AnchorSettings(),
        preprocessing=PREPROCESSINGS[name],
    )
    return LoadedWeights(
        path=path,
        network=network,
        state=_fitted(state, network, source=str(path)),
        family=detect_family(list(content.tensors)),
        sha256=sha256,
        notes=tuple(notes),
    )


def _load_yunet(
    path: Path, content: WeightFile, sha256: str, *, preprocessing: str | None, anchors: AnchorSettings | None
) -> LoadedWeights:
    """A YuNet as it is published; all of them have the same anchors, and were trained on pixels as they are."""
    if preprocessing is not None or anchors is not None:
        raise CheckpointError(f"{path}: YuNet has its own preprocessing and anchors; leave both options out")
    network = NetworkSettings(network="yunet")
    state = convert_yunet(content.tensors, source=str(path))
    fitted = _fitted(state, network, source=str(path))
    return LoadedWeights(path=path, network=network, state=fitted, family=YUNET_FAMILY, sha256=sha256)


def _fitted(state: Mapping[str, Tensor], network: NetworkSettings, *, source: str) -> dict[str, Tensor]:
    """The state as float32, after checking that it is what the network wants."""
    with torch.device("meta"):
        wanted = build_network(network).state_dict()
    counters = {key: torch.zeros((), dtype=torch.long) for key in wanted if key.endswith("num_batches_tracked")}
    _check_fit(state, {key: value.shape for key, value in wanted.items()}, source=source)
    fitted = {key: state[key].float() if key not in counters else state.get(key, counters[key]) for key in wanted}
    broken = [key for key, value in fitted.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if broken:
        raise CheckpointError(f"{source}: weights that are not finite numbers in {_listed(broken)}")
    return fitted


def _check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, torch.Size | None], *, source: str) -> None:
    """Compares names and shapes; num_batches_tracked may be missing."""
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    shapes = [
        f"{key} {tuple(state[key].shape)}, wanted {tuple(shape)}"
        for key, shape in wanted.items()
        if shape is not None and key in state and state[key].shape != shape
    ]
    problems = [
        f"{len(keys)} {what}: {_listed(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise CheckpointError(f"{source}: the weights do not fit the network: " + "; ".join(problems))


def _listed(keys: list[str]) -> str:
    rest = len(keys) - _NUM_LISTED
    return ", ".join(keys[:_NUM_LISTED]) + (f" and {rest} more" if rest > 0 else "")
