"""The figures of a training as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

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
_COLORS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774")


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
    shown = {name: group for name, group in groups.items() if group}
    figure = Figure(figsize=(11, 2.9 * max(1, len(shown))), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, group) in zip(axes, shown.items(), strict=False):
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
    for color, (name, curve) in zip(_COLORS * len(group), group.items(), strict=False):
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
