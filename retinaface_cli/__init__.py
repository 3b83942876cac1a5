"""Find faces and their five landmarks with RetinaFace networks."""

from typing import TYPE_CHECKING, Any

from retinaface_cli.version import __version__

if TYPE_CHECKING:
    from retinaface_cli.commands.evaluate.scores import evaluate_wider
    from retinaface_cli.commands.train.run import train
    from retinaface_cli.data.preprocessing import load_rgb
    from retinaface_cli.detection.alignment import align_faces
    from retinaface_cli.detection.detector import FaceDetector
    from retinaface_cli.detection.legacy_api import get_model
    from retinaface_cli.faces import FaceDetections, FaceLabels
    from retinaface_cli.formats import FaceTable, read_labels, read_predictions, write_labels
    from retinaface_cli.visualization.drawing import draw_faces

__all__ = [
    "FaceDetections",
    "FaceDetector",
    "FaceLabels",
    "FaceTable",
    "__version__",
    "align_faces",
    "draw_faces",
    "evaluate_wider",
    "get_model",
    "load_rgb",
    "read_labels",
    "read_predictions",
    "train",
    "write_labels",
]

_HOMES = {
    "FaceDetections": "retinaface_cli.faces",
    "FaceDetector": "retinaface_cli.detection.detector",
    "FaceLabels": "retinaface_cli.faces",
    "FaceTable": "retinaface_cli.formats",
    "align_faces": "retinaface_cli.detection.alignment",
    "draw_faces": "retinaface_cli.visualization.drawing",
    "evaluate_wider": "retinaface_cli.commands.evaluate.scores",
    "get_model": "retinaface_cli.detection.legacy_api",
    "load_rgb": "retinaface_cli.data.preprocessing",
    "read_labels": "retinaface_cli.formats",
    "read_predictions": "retinaface_cli.formats",
    "train": "retinaface_cli.commands.train.run",
    "write_labels": "retinaface_cli.formats",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are asked for, so that the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
