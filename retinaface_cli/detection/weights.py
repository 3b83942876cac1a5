"""From what the user writes after -w to a file: a path, the detector in the package, or published weights by name."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath

from retinaface_cli.errors import CheckpointError
from retinaface_cli.files.addresses import is_address, open_anywhere, path_of
from retinaface_cli.files.atomic import atomic_path
from retinaface_cli.model.checkpoints.http_download import ProgressCallback
from retinaface_cli.model.checkpoints.published import cache_folder, fetch_weights, list_published

PACKAGED_NAME = "mobilenet0.25"
"""The detector that the package carries."""

_PACKAGED_PATH = Path(__file__).resolve().parent.parent / "weights" / "mobilenet0.25.safetensors"


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
    if name_or_path == PACKAGED_NAME:
        return _PACKAGED_PATH
    names = [PACKAGED_NAME, *(weights.name for weights in list_published())]
    if name_or_path in names[1:]:
        return fetch_weights(name_or_path, on_progress=on_progress)
    raise CheckpointError(f"{name_or_path}: no such file, and no published weights of that name: {', '.join(names)}")


def _fetch_address(address: str) -> Path:
    """The file at an address, copied into the cache folder unless it is there already."""
    name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{PurePosixPath(path_of(address)).name}"
    path = cache_folder() / "addresses" / name
    if not path.exists():
        with (
            open_anywhere(address, error=CheckpointError) as remote,
            atomic_path(path) as temporary,
            temporary.open("wb") as file,
        ):
            shutil.copyfileobj(remote, file, 1 << 20)
    return path
