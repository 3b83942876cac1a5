"""A set of labels as an image: face sizes against the anchors, and faces in an image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.statistics import REFERENCE_SIDE, LabelStatistics

_LABELLED, _REFERENCE, _ANCHOR = "#0b6e99", "#d9730d", "#448361"
_BINS_AN_OCTAVE = 4
_MIN_SIZE = 1.0


def draw_label_statistics(
    statistics: LabelStatistics, anchor_sizes: Sequence[float], path: Path, *, title: str
) -> None:
    """Draws the histograms of face sizes and of the number of faces in an image.

    Args:
        statistics: of the labels.
        anchor_sizes: side lengths in pixels of the network input, drawn as lines.
        path: of the PNG.
        title: above all.
    """
    figure = Figure(figsize=(9, 7), layout="constrained")
    figure.suptitle(title)
    sizes_axis, counts_axis = figure.subplots(2, 1, height_ratios=(3, 2))
    _draw_sizes(sizes_axis, statistics, anchor_sizes)
    _draw_counts(counts_axis, statistics.faces_per_image)
    figure.savefig(path, dpi=110, format="png")


def _draw_sizes(axis: Axes, statistics: LabelStatistics, anchor_sizes: Sequence[float]) -> None:
    """Face sizes as labelled and at the reference size, on a logarithmic axis, with the anchors."""
    groups = {
        "as labelled": (statistics.as_labelled.sizes, _LABELLED),
        f"longest side at {REFERENCE_SIDE} px": (statistics.at_reference.sizes, _REFERENCE),
    }
    largest = max([2 * max(anchor_sizes), *(float(sizes.max(initial=0)) for sizes, _ in groups.values())])
    num_octaves = int(np.ceil(np.log2(largest / _MIN_SIZE)))
    bins = (_MIN_SIZE * 2.0 ** (np.arange(num_octaves * _BINS_AN_OCTAVE + 1) / _BINS_AN_OCTAVE)).tolist()
    for name, (sizes, color) in groups.items():
        if len(sizes):
            axis.hist(np.maximum(sizes, _MIN_SIZE), bins=bins, histtype="stepfilled", alpha=0.25, color=color)
            axis.hist(np.maximum(sizes, _MIN_SIZE), bins=bins, histtype="step", color=color, label=name)
    for i, size in enumerate(sorted(anchor_sizes)):
        axis.axvline(size, color=_ANCHOR, linestyle="--", linewidth=1, label="" if i else "anchors")
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.set_xticks([_MIN_SIZE * 2**i for i in range(num_octaves + 1)])
    axis.set_xlim(bins[0], bins[-1])
    axis.set_xlabel("face size in pixels (square root of the area)")
    axis.set_ylabel("faces")
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize="small")


def _draw_counts(axis: Axes, faces_per_image: FloatArray) -> None:
    """Number of faces in an image, on a logarithmic axis with a place of its own for none."""
    largest = max(float(faces_per_image.max(initial=1)), 1.0)
    edges = [0, 1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025]
    edges = [*(edge for edge in edges if edge <= largest), int(largest) + 1]
    counts = np.histogram(faces_per_image, bins=np.unique(edges))[0]
    edges = np.unique(edges).tolist()
    names = [f"{low}" if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
    bars = axis.bar(names, counts, color=_LABELLED, alpha=0.7)
    axis.bar_label(bars, fontsize="small")
    axis.margins(y=0.12)
    axis.set_xlabel("faces in an image")
    axis.set_ylabel("images")
    axis.grid(alpha=0.3, axis="y")
