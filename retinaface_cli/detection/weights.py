"""From what the user writes after -w to a network: a file, the one in the package, or published weights by name."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath

from retinaface_cli.detection.backends import open_graph
from retinaface_cli.detection.backends.graph_forward import fixed_size
from retinaface_cli.detection.downloads import ProgressCallback, fetch_weights, load_named
from retinaface_cli.detection.network_files import NetworkFile, files_of, recognise
from retinaface_cli.errors import CheckpointError, SettingsError, shown
from retinaface_cli.files.addresses import is_address, open_anywhere, path_of
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.files.reading import open_regular
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_weights
from retinaface_cli.model.checkpoints.published import cache_folder, find_published, list_published
from retinaface_cli.settings.detection import DetectionSettings

PACKAGED_NAME = "yunet"
"""The detector that is taken where none is named."""

PACKAGED_LICENCES = {"yunet": "Apache-2.0", "mobilenet0.25": "MIT"}
"""The detectors that the package carries, by name."""

_PACKAGED_PATHS = {
    name: Path(__file__).resolve().parent.parent / "weights" / f"{name}.safetensors" for name in PACKAGED_LICENCES
}

_GRAPH_ENDINGS = (".onnx", ".xml")


def load_network(path: Path, settings: DetectionSettings) -> LoadedWeights | NetworkFile:
    """Loads weights of any RetinaFace family, or a network in an .onnx or .xml file.

    Args:
        path: of the file, see resolve_weights.
        settings: their preprocessing, anchors, backend and precision.

    Raises:
        CheckpointError: it cannot be found or used.
        SettingsError: the backend does not run such files, or is not installed.
    """
    if path.suffix.lower() in _GRAPH_ENDINGS:
        return read_network_file(path, settings)
    return load_weights(path, preprocessing=settings.preprocessing, anchors=settings.anchors)


def read_network_file(path: Path, settings: DetectionSettings) -> NetworkFile:
    """Opens an .onnx or .xml file in a runtime, and finds out what it is.

    Raises:
        CheckpointError: it cannot be opened, or is no network that this tool knows.
        SettingsError: see load_network.
    """
    if settings.preprocessing is not None or settings.anchors is not None:
        raise SettingsError(f"{shown(path)}: says itself what it is; leave --preprocessing and --anchors out")
    sha256 = hashlib.sha256()
    for part in files_of(path):
        with open_regular(part, error=CheckpointError) as file:
            while block := file.read(1 << 20):
                sha256.update(block)
    graph = open_graph(path, settings)
    family = recognise(graph, path=path)
    image_size = fixed_size(graph, family)
    notes = [f"{path.name}: {family.title}"]
    if image_size is not None:
        height, width = image_size
        notes.append(f"it takes images of {width}x{height}: larger ones are shrunk into that, smaller ones filled up")
    return NetworkFile(path, family, image_size, sha256.hexdigest(), notes=("; ".join(notes),))


def licence_of(weights: LoadedWeights) -> str:
    """Licence of weights, as far as it is known: those in the package, and published ones."""
    known = {entry.sha256: entry.licence for entry in list_published() if entry.sha256 is not None}
    for name, path in _PACKAGED_PATHS.items():
        if weights.path == path:
            return PACKAGED_LICENCES[name]
    return known.get(weights.sha256, "unknown; ask whoever trained the weights")


def resolve_weights(name_or_path: str, *, on_progress: ProgressCallback | None = None) -> Path:
    """The weights file itself; published weights are downloaded once into the cache folder.

    Args:
        name_or_path: a path, an address, or a name in `retinaface infer --list-weights`.
        on_progress: called while a download runs.

    Raises:
        CheckpointError: neither a file nor a known name, or the download failed.
    """
    if is_address(name_or_path):
        return _fetch_address(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if name_or_path in _PACKAGED_PATHS:
        return _PACKAGED_PATHS[name_or_path]
    weights = find_published(name_or_path)
    if weights is not None:
        return fetch_weights(weights, on_progress=on_progress)
    names = ", ".join([*_PACKAGED_PATHS, *(weights.name for weights in list_published())])
    raise CheckpointError(f"{name_or_path}: no such file, and no published weights of that name: {names}")


def _fetch_address(address: str) -> Path:
    """The file at an address, copied into the cache folder unless it is there already."""
    name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{PurePosixPath(path_of(address)).name}"
    path = cache_folder() / "addresses" / name
    if not path.exists():
        with atomic_path(path) as temporary:
            with open_anywhere(address, error=CheckpointError) as remote, temporary.open("wb") as file:
                shutil.copyfileobj(remote, file, 1 << 20)
            if path.suffix.lower() not in _GRAPH_ENDINGS:
                load_named(temporary, address)
    return path
