"""The figures of a training as curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_MAX_POINTS = 200
_COLORS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774")


class Curve(NamedTuple):
    """One figure over time: values (n,) at optimizer steps (n,)."""

    steps: Sequence[int]
    values: Sequence[float]


def draw_curves(curves: Mapping[str, Curve], path: Path, *, title: str) -> None:
    """Draws training losses, validation figures and the learning rate over the steps, one under the other.

    The losses are the means of the epochs, before the end of the first one those of the single steps.

    Args:
        curves: by name; `train/...loss`, `val/ap...`, `val/wider_...`, `val/nme...` and `lr` are drawn.
        path: of the PNG.
        title: above all.
    """
    groups = {
        "training loss": _pick(curves, "train/", "loss_epoch") or _pick(curves, "train/", "loss"),
        "average precision": _pick(curves, "val/ap", "") | _pick(curves, "val/wider_", ""),
        "landmark error": _pick(curves, "val/nme", ""),
        "learning rate": _pick(curves, "lr", ""),
    }
    shown = {name: group for name, group in groups.items() if group}
    figure = Figure(figsize=(9, 2.9 * max(1, len(shown))), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, group) in zip(axes, shown.items(), strict=False):
        _draw_group(axis, group)
        axis.set_ylabel(name)
        if name == "training loss" and all(min(curve.values) > 0 for curve in group.values()):
            axis.set_yscale("log")
    axes[-1].set_xlabel("optimizer step")
    figure.savefig(path, dpi=110)


def _pick(curves: Mapping[str, Curve], prefix: str, part: str) -> dict[str, Curve]:
    return {
        name: curve for name, curve in curves.items() if name.startswith(prefix) and part in name and len(curve.steps)
    }


def _draw_group(axis: Axes, group: Mapping[str, Curve]) -> None:
    """The curves of one panel; a long one is averaged over stretches, with the single values pale behind it."""
    for color, (name, curve) in zip(_COLORS * len(group), group.items(), strict=False):
        steps, values = np.asarray(curve.steps), np.asarray(curve.values, np.float64)
        label = name.rpartition("/")[2].removesuffix("_epoch")
        if len(steps) > _MAX_POINTS:
            axis.plot(steps, values, color=color, alpha=0.15, linewidth=0.8)
            stretches = np.array_split(np.arange(len(steps)), _MAX_POINTS)
            steps = np.array([steps[stretch].mean() for stretch in stretches])
            values = np.array([values[stretch].mean() for stretch in stretches])
        axis.plot(steps, values, color=color, label=label, marker="." if len(steps) < 40 else "")
    axis.grid(alpha=0.3)
    axis.legend(loc="best", fontsize="small")
