"""The results of `evaluate`: report.json, curves, and the table that is printed, one column a set of predictions."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retinaface_cli.commands.evaluate.scores import Scores
from retinaface_cli.commands.evaluate.truth import GroundTruth
from retinaface_cli.errors import shown
from retinaface_cli.evaluation.average_precision import AveragePrecisionReport, PrecisionRecallCurve
from retinaface_cli.evaluation.breakdown import GroupResult
from retinaface_cli.evaluation.wider_face import WiderFaceReport
from retinaface_cli.settings.detection import DetectionSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.version import __version__

if TYPE_CHECKING:
    from retinaface_cli.visualization.evaluation_plots import NamedCurve

_MAX_GROUPS = 8
_MAX_CURVE_POINTS = 2000


class Figure(NamedTuple):
    """One figure of one set of predictions.

    Attributes:
        name: of the row.
        value: None where the labels do not allow it.
        num_faces: faces behind it; None where that goes without saying.
        recall: share of them that were found; None where it is not of interest.
        landmark_error: mean error of their landmarks as a part of the box size; None where it is not known.
    """

    name: str
    value: float | None
    num_faces: int | None = None
    recall: float | None = None
    landmark_error: float | None = None


class Section(NamedTuple):
    """Rows of the table that belong together."""

    title: str
    figures: tuple[Figure, ...]


def print_scores(console: Console, scores: Sequence[Scores]) -> None:
    """Prints the table; further predictions get a column with the difference to the first ones."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("faces", justify="right")
    for index, name in enumerate(short_names([one.candidate.name for one in scores])):
        table.add_column(escape(shown(name)) if len(scores) > 1 else "value", justify="right", overflow="fold")
        if index:
            table.add_column("difference", justify="right")
    if len(scores) == 1:
        table.add_column("recall", justify="right")
        table.add_column("landmark error" if scores[0].landmarks is not None else "", justify="right")
    groups = _chosen_groups(scores[0])
    for sections in zip(*(_sections(one, groups) for one in scores), strict=True):
        table.add_row()
        table.add_row(f"[bold]{escape(sections[0].title)}[/bold]")
        for figures in _aligned(sections):
            table.add_row(*_cells(figures))
    console.print(table)


def _cells(figures: Sequence[Figure | None]) -> list[str]:
    """A row: name, faces, values with their differences, recall."""
    named = next(figure for figure in figures if figure is not None)
    first = figures[0].value if figures[0] is not None else None
    cells = [f"  {escape(shown(named.name))}", "" if named.num_faces is None else f"{named.num_faces:,}"]
    for index, figure in enumerate(figures):
        value = figure.value if figure is not None else None
        cells.append(_number(value))
        if index:
            cells.append("" if value is None or first is None else f"{value - first:+.4f}")
    if len(figures) == 1:
        cells += ["" if value is None else _number(value) for value in (named.recall, named.landmark_error)]
    return cells


def _aligned(sections: Sequence[Section]) -> Iterator[list[Figure | None]]:
    """The figures of one name from each section."""
    names = dict.fromkeys(figure.name for section in sections for figure in section.figures)
    for name in names:
        yield [next((figure for figure in section.figures if figure.name == name), None) for section in sections]


def _sections(scores: Scores, groups: Mapping[str, Sequence[str]]) -> list[Section]:
    """All figures of one set of predictions; of each kind of groups the chosen ones."""
    sections = []
    if scores.wider is not None:
        subsets = scores.wider.subsets.items()
        figures = tuple(Figure(name, subset.ap, subset.num_faces, subset.recall) for name, subset in subsets)
        sections.append(Section("WIDER FACE, AP", figures))
    if scores.has_ap50:
        sections.append(_ap50_section(scores))
    if scores.coco is not None:
        coco = scores.coco
        figures = (
            Figure("AP .50:.95", coco.ap, coco.num_faces, coco.ar),
            Figure("AP .50", coco.ap50),
            Figure("AP .75", coco.ap75),
            Figure("AP small, < 32² px", coco.ap_small),
            Figure("AP medium", coco.ap_medium),
            Figure("AP large, > 96² px", coco.ap_large),
        )
        sections.append(Section(f"COCO, best {coco.max_detections} of an image", figures))
    if scores.landmarks is not None:
        sections.append(_landmark_section(scores))
    for kind, names in groups.items():
        by_name = {group.name: group for group in scores.groups if group.kind == kind}
        title = f"AP50 by {kind}" + (
            f", the lowest {len(names)} of {len(by_name)}" if len(names) < len(by_name) else ""
        )
        chosen = [by_name[name] for name in names]
        figures = tuple(
            Figure(group.name, group.ap50, group.num_faces, group.recall, group.nme_box) for group in chosen
        )
        sections.append(Section(title, figures))
    return sections


def _ap50_section(scores: Scores) -> Section:
    report = scores.ap50
    figures = (
        Figure("AP", report.ap, report.num_faces, report.recall),
        Figure("AP of scores > .1 (legacy metric)", report.ap_legacy),
        Figure("best F1", report.best_f1),
        Figure("score of the best F1", report.best_f1_score),
    )
    return Section("AP50 (VOC)", figures)


def _landmark_section(scores: Scores) -> Section:
    report = scores.landmarks
    if report is None:
        raise ValueError("landmarks were not computed")
    recall = report.num_matched / report.num_faces if report.num_faces else None
    figures = [
        Figure("mean error / eye distance", report.nme_eyes, report.num_faces, recall),
        Figure("median error / eye distance", report.median_eyes),
        Figure("failure rate, error > .1 of it", report.failure_rate),
        Figure("mean error / box size", report.nme_box, landmark_error=report.nme_box),
    ]
    figures += [Figure(f"{name.replace('_', ' ')} / box size", error) for name, error in report.points_box.items()]
    return Section("landmarks, on faces that were found", tuple(figures))


def _chosen_groups(scores: Scores) -> dict[str, list[str]]:
    """Kind -> names of its groups; where there are many, as of events, those with the lowest AP."""
    by_kind: dict[str, list[GroupResult]] = {}
    for group in scores.groups:
        by_kind.setdefault(group.kind, []).append(group)
    for kind, groups in by_kind.items():
        if len(groups) > _MAX_GROUPS:
            by_kind[kind] = sorted(groups, key=lambda group: group.ap50)[:_MAX_GROUPS]
    return {kind: [group.name for group in groups] for kind, groups in by_kind.items()}


def short_names(names: Sequence[str]) -> list[str]:
    """The names without the folders that they have in common."""
    parts = [Path(name).parts for name in names]
    while len({part[0] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[1:] for part in parts]
    while len({part[-1] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts = [part[:-1] for part in parts]
    return ["/".join(part) for part in parts]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


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
        result["ap50"] = _describe_ap50(scores.ap50)
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


def _describe_ap50(report: AveragePrecisionReport) -> dict[str, Any]:
    """All but the curve."""
    return {
        "ap": report.ap,
        "ap_legacy": report.ap_legacy,
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


def draw_curves(scores: Sequence[Scores], title: str, path: Path) -> None:
    """Precision over recall of the WIDER FACE subsets, or of AP50 where they were not asked for."""
    from retinaface_cli.visualization.evaluation_plots import draw_precision_recall  # matplotlib is slow to import

    names = short_names([one.candidate.name for one in scores])
    groups = {}
    for name, one in zip(names, scores, strict=True):
        curves = {"AP50": one.ap50.curve}
        if one.wider is not None:
            curves = {subset: result.curve for subset, result in one.wider.subsets.items()}
        groups[name] = {subset: _thinned(curve) for subset, curve in curves.items()}
    scales = sorted({one.candidate.scale or "unknown" for one in scores})
    draw_precision_recall(groups, path, title=f"{title}, test scale {' and '.join(scales)}")


def _thinned(curve: PrecisionRecallCurve) -> NamedCurve:
    """At most _MAX_CURVE_POINTS points of the curve."""
    from retinaface_cli.visualization.evaluation_plots import NamedCurve

    known = np.flatnonzero(curve.precision > 0)  # nothing is counted yet at the highest thresholds
    points = known[np.linspace(0, len(known) - 1, min(len(known), _MAX_CURVE_POINTS)).astype(np.intp)]
    return NamedCurve(curve.recall[points], curve.precision[points], curve.average_precision)
