"""Weights files: our own, complete in themselves, and those of the older RetinaFace implementations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retinaface_cli.errors import CheckpointError, SettingsError, shown, some_of
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.model.checkpoints.files import WeightFile, read_weight_file, write_weight_file
from retinaface_cli.model.checkpoints.legacy_keys import detect_backbone, detect_family, plain_names, rename_key
from retinaface_cli.model.checkpoints.published import KNOWN_ANCHORS, cache_folder, preprocessing_by_sha256
from retinaface_cli.model.checkpoints.yunet_weights import FAMILY as YUNET_FAMILY
from retinaface_cli.model.checkpoints.yunet_weights import convert_yunet, is_yunet
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.backbones import BACKBONES
from retinaface_cli.model.networks.outputs import FaceNetwork
from retinaface_cli.model.networks.timm_backbones import pretrained_state
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.network import PREPROCESSINGS, TIMM_PREFIX, AnchorSettings, NetworkSettings
from retinaface_cli.version import __version__


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
        anchors: for old files, which do not say. None: known files by their sha256, others the usual ones, with a note.

    Raises:
        CheckpointError: the file cannot be used; the message says what was found and what was expected.
    """
    if path.suffix.lower() in (".onnx", ".xml"):
        raise CheckpointError(
            f"{path}: a network made ready to run, for infer and evaluate; train and export take the weights it is of"
        )
    content = read_weight_file(path)
    if "network" in content.metadata:
        return _load_own(path, content, preprocessing=preprocessing, anchors=anchors)
    return _load_legacy(path, content, preprocessing=preprocessing, anchors=anchors)


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
        tensors, _ = plain_names(read_weight_file(path).tensors, source=shown(path))
        named = {rename_key(key): value for key, value in tensors.items()}
    elif source is None:
        raise CheckpointError(
            f"{backbone}: ImageNet start weights come from a file (for mobilenet0.25 mobilenetV1X0.25_pretrain.tar); "
            "name it in backbone_weights, or set that to none to start from random weights"
        )
    else:
        import torchvision

        published = torchvision.models.get_weight(source)
        try:
            named = published.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"{backbone}: cannot fetch {published.url} ({error}); fetch it by hand and name the file"
            ) from None
    with torch.device("meta"):
        weights = BACKBONES[backbone].build().state_dict()
    wanted = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    state = {key.removeprefix("backbone."): value for key, value in named.items()}
    return _fitted({key: state[key] for key in wanted if key in state}, wanted, source=shown(path or backbone))


def read_network(values: Any, *, source: str) -> NetworkSettings:
    """The network of a file that this tool wrote, also version 0.1, which could have a further level of stride 4.

    Raises:
        CheckpointError: it has that level, or the values are not those of a network.
    """
    try:
        if 4 in values["anchors"]["strides"]:
            raise CheckpointError(
                f"{source}: has a level of stride 4, which only version 0.1 computes; train again, or take others"
            )
        known = {name: value for name, value in values.items() if name != "fine_channels"}
        return validate_settings(NetworkSettings, known, source=source)
    except (SettingsError, AttributeError, LookupError, TypeError) as error:
        raise CheckpointError(f"{source}: does not describe a network: {shown(str(error))}") from None


def _load_own(
    path: Path, content: WeightFile, *, preprocessing: str | None, anchors: AnchorSettings | None
) -> LoadedWeights:
    """A .safetensors or .ckpt that this tool wrote; it says itself what it is."""
    if preprocessing is not None or anchors is not None:
        raise CheckpointError(
            f"{path}: carries its own preprocessing and anchors; leave --preprocessing and --anchors out"
        )
    metadata = content.metadata
    network = read_network(metadata["network"], source=shown(path))
    prefix, training = str(metadata.get("weights_prefix", "")), metadata.get("training")
    state = {key.removeprefix(prefix): value for key, value in content.tensors.items() if key.startswith(prefix)}
    return LoadedWeights(
        path=path,
        network=network,
        state=_fitted(state, _state_of(network, source=shown(path)), source=shown(path)),
        family="retinaface-cli",
        sha256=content.sha256,
        training=training if isinstance(training, dict) else {},
    )


def _load_legacy(
    path: Path, content: WeightFile, *, preprocessing: str | None, anchors: AnchorSettings | None
) -> LoadedWeights:
    """A file of one of the older implementations, recognised by names and shapes."""
    source = shown(path)
    tensors, notes = plain_names(content.tensors, source=source)
    if is_yunet(tensors):
        if preprocessing is not None or anchors is not None:
            raise CheckpointError(f"{source}: YuNet has its own preprocessing and anchors; leave both options out")
        network, family = NetworkSettings(network="yunet"), YUNET_FAMILY
        state = convert_yunet(tensors, source=source)
    else:
        state, family = {rename_key(key): value for key, value in tensors.items()}, detect_family(content.tensors)
        name = preprocessing or preprocessing_by_sha256(content.sha256)
        network = _describe_legacy(state, name, anchors or KNOWN_ANCHORS.get(content.sha256), source=source)
        if preprocessing_by_sha256(content.sha256) is None:
            notes += _assumptions(network, is_preprocessing_assumed=name is None, are_anchors_assumed=anchors is None)
    return LoadedWeights(
        path=path,
        network=network,
        state=_fitted(state, _state_of(network, source=source), source=source),
        family=family,
        sha256=content.sha256,
        notes=(*content.notes, *(f"{path.name}: {note}" for note in notes)),
    )


def _describe_legacy(
    state: Mapping[str, Tensor], preprocessing: str | None, anchors: AnchorSettings | None, *, source: str
) -> NetworkSettings:
    """The network that weights by our names belong to; what is None is as usual."""
    backbone = detect_backbone(state, source=source)
    lateral = state.get("pyramid.lateral.0.0.weight")
    if lateral is None:
        raise CheckpointError(f"{source}: a bare {backbone} backbone; expected a whole RetinaFace network")
    if not lateral.ndim or not lateral.shape[0] or lateral.shape[0] % 4:
        raise CheckpointError(f"{source}: a pyramid of shape {tuple(lateral.shape)}; expected a multiple of 4 channels")
    return NetworkSettings(
        backbone=backbone,
        out_channels=lateral.shape[0],
        anchors=anchors or AnchorSettings(),
        preprocessing=PREPROCESSINGS[preprocessing or BACKBONES[backbone].preprocessing],
    )


def _assumptions(network: NetworkSettings, *, is_preprocessing_assumed: bool, are_anchors_assumed: bool) -> list[str]:
    """What a legacy file does not say and was assumed, in sentences."""
    notes = []
    if is_preprocessing_assumed:
        assumed = BACKBONES[network.backbone].preprocessing
        other = next(key for key in PREPROCESSINGS if key != assumed)
        notes.append(
            f"the file does not say how its images were prepared; assuming {assumed}, the habit of "
            f"{network.backbone} checkpoints. If faces are missed, try --preprocessing {other}"
        )
    if are_anchors_assumed:
        notes.append(
            "the file does not say its anchors; assuming [[16,32],[64,128],[256,512]]. If boxes have the wrong size, "
            'it may be of the 1MB family: --anchors "[[10,20],[32,64],[128,256]]"'
        )
    return notes


def _state_of(network: NetworkSettings, *, source: str) -> dict[str, Tensor]:
    """Names and shapes of the network's weights, without memory for them."""
    try:
        with torch.device("meta"):
            return build_network(network).state_dict()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{source}: no network can be built as it is described ({shown(str(error))})") from None


def _fitted(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """The state as float32, after checking that it is what the network wants; counters start at 0."""
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    problems = {
        "missing": [key for key in wanted if key not in state and key not in counters],
        "unexpected": [key for key in state if key not in wanted],
        "of another shape": [f"{key} {tuple(state[key].shape)}, wanted {tuple(wanted[key].shape)}" for key in shapes],
    }
    texts = [f"{len(keys)} {problem}: {some_of(keys)}" for problem, keys in problems.items() if keys]
    if texts:
        raise CheckpointError(f"{source}: the weights do not fit the network: " + "; ".join(texts))
    others = [f"{key} ({state[key].dtype})" for key in wanted.keys() - counters if not state[key].is_floating_point()]
    if others:
        raise CheckpointError(f"{source}: weights that are not floating-point numbers: {some_of(others)}")
    fitted = {key: torch.zeros((), dtype=torch.long) if key in counters else state[key].float() for key in wanted}
    broken = [key for key, value in fitted.items() if not (value.sum().isfinite() or value.isfinite().all())]
    if broken:
        raise CheckpointError(f"{source}: weights that are not finite numbers in {some_of(broken)}")
    negative = [key for key, value in fitted.items() if key.endswith("running_var") and bool((value < 0).any())]
    if negative:
        raise CheckpointError(f"{source}: variances below 0 in {some_of(negative)}")
    return fitted
