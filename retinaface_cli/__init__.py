"""Find faces and their five landmarks with RetinaFace networks."""

from typing import TYPE_CHECKING, Any

from retinaface_cli.version import __version__

if TYPE_CHECKING:
    from retinaface_cli.detection.alignment import align_faces
    from retinaface_cli.detection.detector import FaceDetector
    from retinaface_cli.detection.legacy_api import get_model
    from retinaface_cli.faces import FaceDetections

__all__ = ["FaceDetections", "FaceDetector", "__version__", "align_faces", "get_model"]

_HOMES = {
    "FaceDetections": "retinaface_cli.faces",
    "FaceDetector": "retinaface_cli.detection.detector",
    "align_faces": "retinaface_cli.detection.alignment",
    "get_model": "retinaface_cli.detection.legacy_api",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are asked for, so that the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
