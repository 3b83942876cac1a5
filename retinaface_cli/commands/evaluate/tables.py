"""The figures of `evaluate` as tables, one column a set of predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retinaface_cli.commands.evaluate.scores import Scores
from retinaface_cli.errors import shown
from retinaface_cli.evaluation.breakdown import GroupResult
from retinaface_cli.evaluation.landmarks import LandmarkReport

_MAX_PRINTED_GROUPS = 8


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


class ScoreTable(NamedTuple):
    """Figures as a person reads them.

    Attributes:
        title: of the table.
        columns: names of all columns but the first, which holds the names of the figures.
        rows: cells of text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def make_tables(scores: Sequence[Scores], *, max_groups: int) -> list[ScoreTable]:
    """All figures, one column a set of predictions; further ones get another with the difference to the first.

    Args:
        scores: of the predictions.
        max_groups: groups of a kind, such as events; of more than that those with the lowest AP.
    """
    columns = ["faces"]
    for index, name in enumerate(short_names([one.candidate.name for one in scores])):
        columns += [shown(name) if len(scores) > 1 else "value", *(["difference"] if index else [])]
    if len(scores) == 1:
        columns += ["recall", *(["landmark error"] if scores[0].landmarks is not None else [])]
    groups = _choose_groups(scores[0], max_groups)
    return [
        ScoreTable(
            sections[0].title,
            tuple(columns),
            tuple(tuple(_cells(figures)[: len(columns) + 1]) for figures in _aligned(sections)),
        )
        for sections in zip(*(_sections(one, groups) for one in scores), strict=True)
    ]


def print_scores(console: Console, scores: Sequence[Scores]) -> None:
    """Prints the tables as one."""
    tables = make_tables(scores, max_groups=_MAX_PRINTED_GROUPS)
    printed = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    printed.add_column("", no_wrap=True)
    for name in tables[0].columns:
        printed.add_column(escape(name), justify="right", overflow="fold")
    for table in tables:
        printed.add_row()
        printed.add_row(f"[bold]{escape(table.title)}[/bold]")
        for name, *cells in table.rows:
            printed.add_row(f"  {escape(name)}", *cells)
    console.print(printed)


def _cells(figures: Sequence[Figure | None]) -> list[str]:
    """A row: name, faces, values with their differences, recall."""
    named = next(figure for figure in figures if figure is not None)
    first = figures[0].value if figures[0] is not None else None
    cells = [shown(named.name), "" if named.num_faces is None else f"{named.num_faces:,}"]
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
        ap50 = scores.ap50
        figures = (
            Figure("AP", ap50.ap, ap50.num_faces, ap50.recall),
            Figure("AP of scores > .1 (legacy metric)", ap50.ap_legacy),
            Figure("best F1", ap50.best_f1),
            Figure("score of the best F1", ap50.best_f1_score),
        )
        sections.append(Section("AP50 (VOC)", figures))
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
        sections.append(_landmark_section(scores.landmarks))
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


def _landmark_section(report: LandmarkReport) -> Section:
    recall = report.num_matched / report.num_faces if report.num_faces else None
    figures = [
        Figure("mean error / eye distance", report.nme_eyes, report.num_faces, recall),
        Figure("median error / eye distance", report.median_eyes),
        Figure("failure rate, error > .1 of it", report.failure_rate),
        Figure("mean error / box size", report.nme_box, landmark_error=report.nme_box),
    ]
    figures += [Figure(f"{name.replace('_', ' ')} / box size", error) for name, error in report.points_box.items()]
    return Section("landmarks, on faces that were found", tuple(figures))


def _choose_groups(scores: Scores, max_groups: int) -> dict[str, list[str]]:
    """Kind -> names of its groups; where there are many, as of events, those with the lowest AP."""
    by_kind: dict[str, list[GroupResult]] = {}
    for group in scores.groups:
        by_kind.setdefault(group.kind, []).append(group)
    for kind, groups in by_kind.items():
        if len(groups) > max_groups:
            by_kind[kind] = sorted(groups, key=lambda group: group.ap50)[:max_groups]
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
