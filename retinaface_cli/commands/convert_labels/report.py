"""What `retinaface convert-labels` tells at its end: tables for people, a JSON object for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from retinaface_cli.errors import shown
from retinaface_cli.faces import LANDMARK_NAMES
from retinaface_cli.formats.statistics import (
    MIN_ANCHOR_OVERLAP,
    REFERENCE_SIDE,
    SIZE_EDGES,
    AttributeSummary,
    LabelStatistics,
)
from retinaface_cli.formats.table import MAX_SHOWN, OCCLUDED_LANDMARKS, Finding

_BAR_WIDTH = 8
_ACTION_TITLES = {
    "corrected": "corrected",
    "ignored": "marked ignore",
    "dropped": "left out",
    "kept": "only noted",
    "requested": "as asked",
    "chosen": "taken so",
}


def _table(title: str, *, show_header: bool = True) -> Table:
    """An empty table in the style of the report."""
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_header=show_header,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
    )


def print_findings(findings: Sequence[Finding], sources: Sequence[Path], console: Console) -> None:
    """A table of what was wrong in the sources and what was done about it; places inside a single folder are short."""
    prefix = f"{sources[0]}/" if len(sources) == 1 else ""
    if not findings:
        console.print("\nNothing wrong was found in these labels.")
        return
    table = _table("Findings")
    table.add_column("what was done")
    table.add_column("number", justify="right")
    table.add_column("what and where", overflow="fold")
    for finding in sorted(findings, key=lambda finding: list(_ACTION_TITLES).index(finding.action)):
        places = [shown(place.removeprefix(prefix), max_length=MAX_SHOWN) for place in finding.examples]
        more = ["..."] if finding.count > len(places) else []
        where = f"[dim]{escape(chr(10).join([*places, *more]))}[/dim]"
        what = escape(shown(finding.reason, max_length=MAX_SHOWN))
        table.add_row(_ACTION_TITLES[finding.action], f"{finding.count:,}", f"{what}\n{where}")
    console.print(table)


def print_statistics(statistics: LabelStatistics, anchor_sizes: Sequence[float], console: Console) -> None:
    """Tables of counts, face sizes and attributes."""
    console.print(_count_table(statistics))
    if statistics.num_faces:
        console.print(_size_table(statistics, anchor_sizes))
        num_sized = len(statistics.at_reference.sizes)
        if not num_sized:
            console.print(f"Sizes at {REFERENCE_SIDE} need the images' sizes: name their folder with --images.")
        elif statistics.num_below_anchors:
            count = statistics.num_below_anchors
            console.print(
                f"With the longest side at {REFERENCE_SIDE} px, {count:,} of {num_sized:,} faces "
                f"({_percent(count, num_sized)}) overlap every anchor by less than {MIN_ANCHOR_OVERLAP:g}: "
                "too small or too narrow to be learned at that size."
            )
    if statistics.attributes:
        console.print(_attribute_table(statistics))


def _count_table(statistics: LabelStatistics) -> Table:
    """Images and faces."""
    num_faces = statistics.num_faces
    rows = [
        ("images", statistics.num_images, None),
        ("  without faces", statistics.num_without_faces, statistics.num_images),
        ("  with ignored faces alone", statistics.num_only_ignored, statistics.num_images),
        ("  of known size", statistics.num_with_size, statistics.num_images),
        ("faces", num_faces, None),
        ("  with five landmarks", statistics.num_complete, num_faces),
        ("  with one to four landmarks", statistics.num_partial, num_faces),
        ("  without landmarks", num_faces - statistics.num_complete - statistics.num_partial, num_faces),
        ("  ignored", statistics.num_ignored, num_faces),
    ]
    table = _table("Labels", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(justify="right")
    for name, count, whole in rows:
        table.add_row(name, f"{count:,}", "" if whole is None else _percent(count, whole))
    return table


def _size_table(statistics: LabelStatistics, anchor_sizes: Sequence[float]) -> Table:
    """The histogram of face sizes, in the original images and at the reference size, against the anchors."""
    title = "Face sizes (square root of the area, without ignored faces)"
    table = _table(title)
    table.add_column("pixels", justify="right")
    table.add_column("as labelled", justify="right")
    table.add_column("", min_width=_BAR_WIDTH)
    has_reference = len(statistics.at_reference.sizes) > 0
    if has_reference:
        table.add_column(f"at {REFERENCE_SIDE}", justify="right")
        table.add_column("", min_width=_BAR_WIDTH)
    table.add_column("anchors")
    lows, highs = (0, *SIZE_EDGES), (*SIZE_EDGES, None)
    histograms = [statistics.as_labelled, *([statistics.at_reference] if has_reference else [])]
    for i, (low, high) in enumerate(zip(lows, highs, strict=True)):
        name = f"under {high}" if not low else f"{low} to {high}" if high else f"{low} and more"
        cells = []
        for histogram in histograms:
            count, total = histogram.counts[i], max(sum(histogram.counts), 1)
            cells += [
                f"{count:,}",
                "█" * round(_BAR_WIDTH * count / max(*histogram.counts, 1)) or ("▏" if count else ""),
            ]
            cells[-2] += f" {_percent(count, total):>6}"
        table.add_row(name, *cells, matching_anchors(low, high, anchor_sizes))
    return table


def matching_anchors(low: float, high: float | None, anchor_sizes: Sequence[float]) -> str:
    """The anchors that square faces from `low` to `high` pixels match best."""
    sizes = sorted(anchor_sizes)
    borders = [(a * b) ** 0.5 for a, b in pairwise(sizes)]  # equal overlap with both
    starts, ends = [0.0, *borders], [*borders, float("inf")]
    top = float("inf") if high is None else high
    found = [f"{size:g}" for size, start, end in zip(sizes, starts, ends, strict=True) if start < top and end > low]
    smallest = sizes[0] * MIN_ANCHOR_OVERLAP**0.5
    return ", ".join(found) + (f" (from {smallest:.1f})" if low < smallest else "")


def _attribute_table(statistics: LabelStatistics) -> Table:
    """The attributes with the counts of their values."""
    table = _table("Attributes")
    table.add_column("name")
    table.add_column("faces", justify="right")
    table.add_column("values", overflow="fold")
    for name, summary in statistics.attributes.items():
        table.add_row(escape(name), f"{summary.num_known:,}", _attribute_text(name, summary))
    return table


def _attribute_text(name: str, summary: AttributeSummary) -> str:
    """The values of one attribute in a line."""
    if name == OCCLUDED_LANDMARKS:
        names = {2**i: landmark for i, landmark in enumerate(LANDMARK_NAMES)} | {0: "none", 31: "all"}
        labels = {value: names.get(int(value), f"{value:g}") for value in summary.counts}
        return ", ".join(f"{labels[value]}: {count:,}" for value, count in summary.counts.items())
    if summary.counts:
        return ", ".join(f"{value:g}: {count:,}" for value, count in summary.counts.items())
    return f"{summary.minimum:g} to {summary.maximum:g}, mean {summary.mean:.3g}"


def statistics_to_json(statistics: LabelStatistics, findings: Sequence[Finding]) -> dict[str, Any]:
    """Everything that is printed, as plain values."""
    return {
        "images": {
            "all": statistics.num_images,
            "without_faces": statistics.num_without_faces,
            "with_ignored_faces_alone": statistics.num_only_ignored,
            "of_known_size": statistics.num_with_size,
        },
        "faces": {
            "all": statistics.num_faces,
            "with_five_landmarks": statistics.num_complete,
            "with_one_to_four_landmarks": statistics.num_partial,
            "ignored": statistics.num_ignored,
            "largest_number_in_a_image": int(statistics.faces_per_image.max(initial=0)),
        },
        "face_sizes": {
            "pixels_from": [0, *SIZE_EDGES],
            "as_labelled": list(statistics.as_labelled.counts),
            f"at_{REFERENCE_SIDE}": list(statistics.at_reference.counts),
            f"below_anchors_at_{REFERENCE_SIDE}": statistics.num_below_anchors,
        },
        "attributes": {name: _attribute_json(summary) for name, summary in statistics.attributes.items()},
        "findings": [
            {"action": f.action, "reason": f.reason, "count": f.count, "examples": list(f.examples)} for f in findings
        ],
    }


def _attribute_json(summary: AttributeSummary) -> Mapping[str, Any]:
    return {
        "faces": summary.num_known,
        "minimum": summary.minimum,
        "mean": summary.mean,
        "maximum": summary.maximum,
        "counts": {f"{value:g}": count for value, count in summary.counts.items()},
    }


def _percent(count: int, whole: int) -> str:
    return f"{100 * count / whole:.1f} %" if whole else ""
