"""report.json: the figures of an evaluation, and how they came about."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from retinaface_cli.commands.evaluate.scores import Scores
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.evaluation.average_precision import AveragePrecisionReport
from retinaface_cli.evaluation.wider_face import WiderFaceReport
from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.settings.detection import DetectionSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.version import __version__


def write_report(
    path: Path, scores: Sequence[Scores], truth: GroundTruth, *, settings: EvaluateSettings, seconds: float
) -> None:
    """Writes the report: a key a protocol for the first predictions, the others under `others` in the same way."""
    first, *others = [_describe_scores(one) for one in scores]
    report = {
        **first,
        "others": others,
        "labels": {
            "path": truth.name,
            "format": truth.format_name,
            "num_images": len(truth.images),
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
    write_text_atomic(path, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _describe_scores(scores: Scores) -> dict[str, Any]:
    """The figures of one set of predictions, and where they come from."""
    candidate = scores.candidate
    result: dict[str, Any] = {}
    if scores.wider is not None:
        result["wider"] = _describe_wider(scores.wider)
    if scores.coco is not None:
        result["coco"] = asdict(scores.coco)
    if scores.has_ap50:
        result["ap50"] = _describe_ap50(scores.ap50)
    if scores.landmarks is not None:
        result["landmarks"] = asdict(scores.landmarks)
    result["groups"] = [asdict(group) for group in scores.groups]
    result["scale"] = candidate.scale
    result["predictions"] = {
        "path": candidate.name,
        "num_images": len(candidate.images),
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


def _describe_ap50(report: AveragePrecisionReport) -> dict[str, Any]:
    """All but the curve."""
    return {
        "ap": report.ap,
        "ap_old": report.ap_old,
        "recall": report.recall,
        "best_f1": report.best_f1,
        "best_f1_score": report.best_f1_score,
        "num_faces": report.num_faces,
    }


def _versions(*, has_coco: bool, has_detected: bool) -> dict[str, str]:
    """Of this tool, Python, and the libraries that had a part in the figures."""
    libraries = ["numpy", *(["faster-coco-eval"] if has_coco else []), *(["torch"] if has_detected else [])]
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return {"retinaface-cli": __version__, "python": platform.python_version(), **versions}
