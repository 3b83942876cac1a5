from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from retinaface_cli.visualization.evaluation_plots import NamedCurve, draw_precision_recall


def test_curves_are_drawn_each_in_its_color(tmp_path: Path) -> None:
    falling = NamedCurve(np.array([0.1, 0.5, 0.9]), np.array([1.0, 0.9, 0.2]), 0.7)
    curves = {
        name: falling._replace(precision=falling.precision * factor) for name, factor in (("easy", 1), ("hard", 0.5))
    }
    draw_precision_recall({"a": curves, "b": curves}, tmp_path / "curve.png", title="labels [x], test scale original")
    image = cv2.imread(str(tmp_path / "curve.png"))
    assert image is not None
    for color in ((0x44, 0x83, 0x61), (0xD9, 0x73, 0x0D)):
        assert (image[..., ::-1] == color).all(axis=2).any()
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_an_empty_curve_is_no_error(tmp_path: Path) -> None:
    nothing = NamedCurve(np.zeros(0), np.zeros(0), 0.0)
    draw_precision_recall({"a": {"all": nothing}}, tmp_path / "curve.png", title="")
    assert (tmp_path / "curve.png").exists()


def test_names_may_hold_any_character(tmp_path: Path) -> None:
    curve = NamedCurve(np.array([0.0, 1.0]), np.array([1.0, 0.5]), 0.75)
    names = ("$\\frac{", "\x1b[31m", "面.json")
    draw_precision_recall({name: {"$x$_": curve} for name in names}, tmp_path / "a.png", title="$\\bad{ 面")
    assert (tmp_path / "a.png").stat().st_size > 1000
