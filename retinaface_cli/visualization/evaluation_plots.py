"""Curves of an evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from retinaface_cli.errors import shown

_COLORS = ("#448361", "#d9730d", "#c14c8a", "#0b6e99")
_LINE_STYLES = ("-", "--", ":", "-.")


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
    for line_style, (group, curves) in zip(_cycle(_LINE_STYLES, len(groups)), groups.items(), strict=True):
        for color, (subset, curve) in zip(_cycle(_COLORS, len(curves)), curves.items(), strict=True):
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


def _cycle(values: Sequence[str], count: int) -> list[str]:
    """The values over and over, as many as asked for."""
    return [values[index % len(values)] for index in range(count)]
