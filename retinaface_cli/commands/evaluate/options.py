"""From the command line to the settings of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retinaface_cli.settings.base import parse_assignments, validate_settings
from retinaface_cli.settings.evaluation import EvaluateSettings

_DETECTION = (
    "preprocessing",
    "multi_scale",
    "double_check",
    "confidence_threshold",
    "nms_threshold",
    "nms_inclusive",
    "box_voting",
    "keep_top_k",
    "batch_size",
    "num_workers",
    "accelerator",
    "devices",
    "num_nodes",
    "precision",
    "backend",
)
"""Options that are settings of the detector under the same name."""

_CHECKED_THRESHOLD = 0.005
"""Score above which faces count after a double check, which lowers weak scores: those of .02 to .005 or .0075."""

_RENAMED = {"protocol": "protocols", "config": "training", "labels_from": "labels_format"}


def resolve_settings(given: Mapping[str, Any]) -> EvaluateSettings:
    """Settings from the options that stand on the command line, by parameter name; the rest has its defaults.

    Raises:
        SettingsError: a wrong value, or options that exclude each other.
    """
    detection = {name: given[name] for name in _DETECTION if given.get(name) is not None}
    if detection.get("double_check"):
        detection.setdefault("confidence_threshold", _CHECKED_THRESHOLD)
    if given.get("fp16"):
        detection["precision"] = "fp16"
    if given.get("anchors"):
        detection["anchors"] = {"sizes": parse_assignments([f"anchors={given['anchors']}"])["anchors"]}
    values = {
        _RENAMED.get(name, name): value
        for name, value in given.items()
        if name not in (*_DETECTION, "fp16", "anchors") and value is not None
    }
    defaults = EvaluateSettings().detection.model_dump(exclude_unset=True)
    return validate_settings(EvaluateSettings, {**values, "detection": {**defaults, **detection}}, source="evaluate")
