"""From what the user writes after -w to a file: a path, the detector in the package, or published weights by name."""

from __future__ import annotations

from pathlib import Path

from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.http_download import ProgressCallback
from retinaface_cli.model.checkpoints.published import fetch_weights, list_published

PACKAGED_NAME = "mobilenet0.25"
"""The detector that the package carries."""

_PACKAGED_PATH = Path(__file__).resolve().parent.parent / "weights" / "mobilenet0.25.safetensors"


def resolve_weights(name_or_path: str, *, on_progress: ProgressCallback | None = None) -> Path:
    """The weights file itself; published weights are downloaded once into the cache folder.

    Args:
        name_or_path: a path, or a name in `retinaface infer --list-weights`.
        on_progress: called while a download runs.

    Raises:
        CheckpointError: neither a file nor a known name, or the download failed.
    """
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if name_or_path == PACKAGED_NAME:
        return _PACKAGED_PATH
    names = [PACKAGED_NAME, *(weights.name for weights in list_published())]
    if name_or_path in names[1:]:
        return fetch_weights(name_or_path, on_progress=on_progress)
    raise CheckpointError(f"{name_or_path}: no such file, and no published weights of that name: {', '.join(names)}")
