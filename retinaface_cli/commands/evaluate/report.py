"""The results of `evaluate`: report.json and curves."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from retinaface_cli.commands.evaluate.scores import Scores
from retinaface_cli.commands.evaluate.tables import short_names
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.evaluation.matching import FloatValues
from retinaface_cli.evaluation.wider_face import WiderFaceReport
from retinaface_cli.settings.detection import DetectionSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.version import __version__

_MAX_CURVE_POINTS = 2000


def make_report(
    scores: Sequence[Scores], truth: GroundTruth, *, settings: EvaluateSettings, seconds: float
) -> dict[str, Any]:
    """The report: a key a protocol for the first predictions, the others under `others` in the same way."""
    first, *others = [_describe_scores(one) for one in scores]
    return {
        **first,
        "others": others,
        "labels": {
            "path": truth.name,
            "format": truth.format_name,
            "num_images": len(truth.faces),
            "num_faces": truth.num_faces,
            "num_ignored": truth.num_ignored,
            "fingerprint": truth.fingerprint,
            "notes": list(truth.notes),
        },
        "settings": settings.model_dump(
            mode="json", exclude=set(DetectionSettings.model_fields) if settings.predictions else None
        ),
        "versions": _versions(has_coco=scores[0].coco is not None, has_detected=not settings.predictions),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }


def _describe_scores(scores: Scores) -> dict[str, Any]:
    """The figures of one set of predictions, and where they come from."""
    candidate = scores.candidate
    result: dict[str, Any] = {}
    if scores.wider is not None:
        result["wider"] = _describe_wider(scores.wider)
    if scores.coco is not None:
        result["coco"] = asdict(scores.coco)
    if scores.has_ap50:
        figures = (field.name for field in fields(scores.ap50) if field.name != "curve")
        result["ap50"] = {name: getattr(scores.ap50, name) for name in figures}
    if scores.landmarks is not None:
        result["landmarks"] = asdict(scores.landmarks)
    result["groups"] = [asdict(group) for group in scores.groups]
    result["scale"] = candidate.scale
    result["predictions"] = {
        "path": candidate.name,
        "num_images": candidate.num_images,
        "num_faces": candidate.num_faces,
        "weights": candidate.run.get("weights"),
        "weights_sha256": candidate.run.get("weights_sha256"),
        "settings": candidate.run.get("settings"),
        "notes": list(candidate.notes),
    }
    return result


def _describe_wider(report: WiderFaceReport) -> dict[str, Any]:
    """AP by subset, then what else is known of the subsets."""
    subsets = report.subsets.items()
    return {
        **{name: subset.ap for name, subset in subsets},
        "recall": {name: subset.recall for name, subset in subsets},
        "num_faces": {name: subset.num_faces for name, subset in subsets},
    }


def _versions(*, has_coco: bool, has_detected: bool) -> dict[str, str]:
    """Of this tool, Python, and the libraries that had a part in the figures."""
    libraries = ["numpy", *(["faster-coco-eval"] if has_coco else []), *(["torch"] if has_detected else [])]
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return {"retinaface-cli": __version__, "python": platform.python_version(), **versions}


class CurvePoints(NamedTuple):
    """A curve as it is drawn, with precision above 0: of which predictions, of which subset."""

    predictions: str
    subset: str
    average_precision: float
    recall: FloatValues
    precision: FloatValues


def list_curves(scores: Sequence[Scores], *, max_points: int, with_ap50: bool = False) -> Iterator[CurvePoints]:
    """Precision over recall of the WIDER FACE subsets; of AP50 where they were not asked for, or where it is."""
    names = short_names([one.candidate.name for one in scores])
    for name, one in zip(names, scores, strict=True):
        curves = {} if one.wider is None else {subset: result.curve for subset, result in one.wider.subsets.items()}
        if with_ap50 or not curves:
            curves["AP50"] = one.ap50.curve
        for subset, curve in curves.items():
            known = np.flatnonzero(curve.precision > 0)  # nothing is counted yet at the highest thresholds
            points = known[np.linspace(0, len(known) - 1, min(len(known), max_points)).astype(np.intp)]
            yield CurvePoints(name, subset, curve.average_precision, curve.recall[points], curve.precision[points])


def draw_curves(scores: Sequence[Scores], title: str, path: Path) -> None:
    """Draws the curves of list_curves."""
    from retinaface_cli.visualization.plots import NamedCurve, draw_precision_recall  # matplotlib is slow

    groups: dict[str, dict[str, NamedCurve]] = {}
    for curve in list_curves(scores, max_points=_MAX_CURVE_POINTS):
        drawn = NamedCurve(curve.recall, curve.precision, curve.average_precision)
        groups.setdefault(curve.predictions, {})[curve.subset] = drawn
    scales = sorted({one.candidate.scale or "unknown" for one in scores})
    draw_precision_recall(groups, path, title=f"{title}, test scale {' and '.join(scales)}")
