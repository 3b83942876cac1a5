"""Plots: the curves of an evaluation and of a training, and what is in a set of labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, ScalarFormatter

from retinaface_cli.errors import shown
from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.statistics import REFERENCE_SIDE, LabelStatistics

_BLUE, _ORANGE, _GREEN = "#0b6e99", "#d9730d", "#448361"
_SUBSET_COLORS = (_GREEN, _ORANGE, "#c14c8a", _BLUE)
_LINE_STYLES = ("-", "--", ":", "-.")

_BINS_AN_OCTAVE = 4
_MIN_SIZE = 1.0

_MAX_POINTS = 200
_MIN_AP_SPAN = 0.02
"""Least height of the panel of the average precision, so that noise does not look like progress."""

_LABELS = {
    "loss": "all",
    "classification": "face or not",
    "landmark": "landmarks",
    "ap50": "AP50",
    "nme_eyes": "part of the eye distance",
    "nme_box": "part of the box size",
}
_CURVE_COLORS = (_BLUE, _ORANGE, _GREEN, "#9065b0", "#c14c8a", "#787774")


class NamedCurve(NamedTuple):
    """Precision over recall: (T,) each, with recall rising."""

    recall: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    average_precision: float


def draw_precision_recall(groups: Mapping[str, Mapping[str, NamedCurve]], path: Path, *, title: str) -> None:
    """Draws precision over recall.

    Args:
        groups: name of the predictions -> name of the subset -> curve; subsets differ in color, predictions in line.
        path: of the PNG.
        title: above the curves.
    """
    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for line_style, (group, curves) in zip(cycle(_LINE_STYLES), groups.items(), strict=False):
        for color, (subset, curve) in zip(cycle(_SUBSET_COLORS), curves.items(), strict=False):
            prefix = f"{shown(group)}, " if len(groups) > 1 else ""
            axes.plot(
                curve.recall,
                curve.precision,
                color=color,
                linestyle=line_style,
                label=f"{prefix}{subset}: AP {curve.average_precision:.4f}",
            )
    axes.set(xlim=(0, 1.005), ylim=(0, 1.005), xlabel="recall", ylabel="precision")
    axes.set_title(shown(title), fontsize="medium", wrap=True, parse_math=False)
    axes.grid(alpha=0.3)
    for text in axes.legend(loc="lower left", fontsize="small").get_texts():
        text.set_parse_math(False)  # names of files may hold a dollar sign
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # letters that the font lacks become boxes
        figure.savefig(path, dpi=110, format="png")


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
        "as labelled": (statistics.as_labelled.sizes, _BLUE),
        f"longest side at {REFERENCE_SIDE} px": (statistics.at_reference.sizes, _ORANGE),
    }
    largest = max([2 * max(anchor_sizes), *(float(sizes.max(initial=0)) for sizes, _ in groups.values())])
    num_octaves = int(np.ceil(np.log2(largest / _MIN_SIZE)))
    bins = (_MIN_SIZE * 2.0 ** (np.arange(num_octaves * _BINS_AN_OCTAVE + 1) / _BINS_AN_OCTAVE)).tolist()
    for name, (sizes, color) in groups.items():
        if len(sizes):
            axis.hist(np.maximum(sizes, _MIN_SIZE), bins=bins, histtype="stepfilled", alpha=0.25, color=color)
            axis.hist(np.maximum(sizes, _MIN_SIZE), bins=bins, histtype="step", color=color, label=name)
    for i, size in enumerate(sorted(anchor_sizes)):
        axis.axvline(size, color=_GREEN, linestyle="--", linewidth=1, label="" if i else "anchors")
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
    bars = axis.bar(names, counts, color=_BLUE, alpha=0.7)
    axis.bar_label(bars, fontsize="small")
    axis.margins(y=0.12)
    axis.set_xlabel("faces in an image")
    axis.set_ylabel("images")
    axis.grid(alpha=0.3, axis="y")


class Curve(NamedTuple):
    """One figure over time: values (n,) at optimizer steps (n,)."""

    steps: Sequence[int]
    values: Sequence[float]


def draw_curves(
    curves: Mapping[str, Curve],
    path: Path,
    *,
    title: str,
    steps_per_epoch: float = 1.0,
    start: Mapping[str, float] | None = None,
) -> None:
    """Draws training losses, validation figures and the learning rate over the epochs, one under the other.

    The losses are the means of the epochs, before the end of the first one those of the single steps.

    Args:
        curves: by name; `train/...loss`, `val/ap...`, `val/wider_...`, `val/nme...` and `lr` are drawn.
        path: of the PNG.
        title: above all.
        steps_per_epoch: optimizer steps of an epoch.
        start: figures of the start weights by name, drawn as dashed lines.
    """
    groups = {
        "training loss": _pick(curves, "train/", "loss_epoch") or _pick(curves, "train/", "loss"),
        "average precision\n(higher is better)": _pick(curves, "val/ap", "") | _pick(curves, "val/wider_", ""),
        "landmark error\n(lower is better)": _pick(curves, "val/nme", ""),
        "learning rate": _pick(curves, "lr", ""),
    }
    panels = {name: group for name, group in groups.items() if group}
    figure = Figure(figsize=(11, 2.9 * max(1, len(panels))), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(max(1, len(panels)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, group) in zip(axes, panels.items(), strict=False):
        _draw_group(axis, group, steps_per_epoch=steps_per_epoch, start=start or {})
        axis.set_ylabel(name)
        if name == "training loss" and all(min(curve.values) > 0 for curve in group.values()):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            axis.yaxis.set_minor_formatter(FormatStrFormatter("%g"))
        if name.startswith("average precision"):
            _mark_best(axis, group, steps_per_epoch=steps_per_epoch, start=start or {})
    axes[-1].set_xlabel("epoch")
    axes[-1].set_xlim(left=0)
    if axes[-1].get_xlim()[1] >= 1:
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=110)


def _pick(curves: Mapping[str, Curve], prefix: str, part: str) -> dict[str, Curve]:
    return {
        name: curve for name, curve in curves.items() if name.startswith(prefix) and part in name and len(curve.steps)
    }


def _draw_group(axis: Axes, group: Mapping[str, Curve], *, steps_per_epoch: float, start: Mapping[str, float]) -> None:
    """The curves of one panel; a long one is averaged over stretches, with the single values pale behind it."""
    for color, (name, curve) in zip(cycle(_CURVE_COLORS), group.items(), strict=False):
        epochs, values = _epochs(curve, steps_per_epoch), np.asarray(curve.values, np.float64)
        if len(epochs) > _MAX_POINTS:
            axis.plot(epochs, values, color=color, alpha=0.15, linewidth=0.8)
            stretches = np.array_split(np.arange(len(epochs)), _MAX_POINTS)
            epochs = np.array([epochs[stretch].mean() for stretch in stretches])
            values = np.array([values[stretch].mean() for stretch in stretches])
        axis.plot(epochs, values, color=color, label=_label(name), marker="." if len(epochs) < 40 else "")
        if name in start:
            label = f"{_label(name)}, start weights"
            axis.axhline(start[name], color=color, linestyle="--", linewidth=1, label=label)
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)


def _mark_best(axis: Axes, group: Mapping[str, Curve], *, steps_per_epoch: float, start: Mapping[str, float]) -> None:
    """A ring at the highest value of each curve, with the value; and room around curves that are nearly flat.

    The start weights are epoch 0, and stay the best until an epoch is better.
    """
    for name, curve in group.items():
        best = int(np.argmax(curve.values))
        place = (float(_epochs(curve, steps_per_epoch)[best]), curve.values[best])
        if start.get(name, -np.inf) >= place[1]:
            place = (0.0, start[name])
        axis.plot(*place, marker="o", markersize=9, fillstyle="none", color="black", linestyle="", clip_on=False)
        axis.annotate(
            f"{place[1]:.4f}", place, xytext=(0, 8), textcoords="offset points", ha="center", fontsize="small"
        )
    low, high = axis.get_ylim()
    room = max(0.0, _MIN_AP_SPAN - (high - low)) / 2
    axis.set_ylim(low - room - 0.02 * (high - low), high + room + 0.15 * (high - low))


def _epochs(curve: Curve, steps_per_epoch: float) -> npt.NDArray[np.float64]:
    """Epochs that are done at each point; steps count from 0."""
    epochs: npt.NDArray[np.float64] = (np.asarray(curve.steps, np.float64) + 1) / steps_per_epoch
    return epochs


def _label(name: str) -> str:
    """What stands in the legend."""
    short = name.rpartition("/")[2].removesuffix("_epoch").removesuffix("_loss")
    return _LABELS.get(short, short.replace("_", " "))
