from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable
from retinaface_cli.formats.statistics import summarize_labels
from retinaface_cli.visualization import plots
from retinaface_cli.visualization.plots import (
    Curve,
    NamedCurve,
    draw_curves,
    draw_label_statistics,
    draw_precision_recall,
)

ANCHORS = (16, 32, 64, 128, 256, 512)
STEPS = list(range(0, 1000, 2))
LOSSES = [3.0 / (1 + step / 100) for step in STEPS]


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


@pytest.mark.parametrize("num_images", [0, 1, 30])
def test_any_number_of_images_is_drawn(num_images: int, tmp_path: Path) -> None:
    images = [
        ImageLabels(
            f"{i}.jpg", FaceLabels.from_boxes([[0, 0, 20 + k, 30] for k in range(i)]), 640 if i % 2 else None, 480
        )
        for i in range(num_images)
    ]
    path = tmp_path / "plot.png"
    draw_label_statistics(summarize_labels(FaceTable.from_images(images), ANCHORS), ANCHORS, path, title="faces")
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (770, 990, 3)
    colored = np.ptp(image.astype(np.int16), axis=2) > 30
    assert colored.any()


def _height(path: Path) -> int:
    image = cv2.imread(str(path))
    assert image is not None and np.ptp(image) > 100
    return int(image.shape[0])


def test_each_kind_of_figure_gets_a_panel(tmp_path: Path) -> None:
    loss = {"train/loss": Curve(STEPS, LOSSES)}
    draw_curves(loss, tmp_path / "one.png", title="one")
    scores = {"val/ap50": Curve([10, 20], [0.1, 0.2]), "val/nme_eyes": Curve([10, 20], [0.5, 0.4])}
    draw_curves({**loss, **scores, "lr": Curve(STEPS, LOSSES)}, tmp_path / "four.png", title="four")
    assert abs(_height(tmp_path / "four.png") - 4 * _height(tmp_path / "one.png")) < 8


def test_a_run_without_figures_yet_gives_an_empty_image(tmp_path: Path) -> None:
    draw_curves({}, tmp_path / "none.png", title="nothing yet")
    assert _height(tmp_path / "none.png") > 0


def test_a_loss_of_zero_can_be_drawn(tmp_path: Path) -> None:
    draw_curves({"train/loss": Curve([0, 1], [1.0, 0.0])}, tmp_path / "zero.png", title="zero")
    assert _height(tmp_path / "zero.png") > 0


def test_the_losses_are_the_means_of_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[str]] = []
    monkeypatch.setattr(plots, "_draw_group", lambda _, group, **__: drawn.append(list(group)))
    steps = {"train/loss": Curve([0, 1], [3.0, 2.0])}
    draw_curves(steps, tmp_path / "first.png", title="in the first epoch")
    draw_curves({**steps, "train/loss_epoch": Curve([1], [2.5])}, tmp_path / "second.png", title="behind it")
    assert drawn == [["train/loss"], ["train/loss_epoch"]]


def test_epochs_start_weights_and_the_best_value_can_be_read_off() -> None:
    group = {"val/ap50": Curve([9, 19, 29], [0.5, 0.7, 0.6])}
    axis = Figure().subplots()
    plots._draw_group(axis, group, steps_per_epoch=10, start={"val/ap50": 0.4, "val/other": 1.0})
    plots._mark_best(axis, group, steps_per_epoch=10, start={"val/ap50": 0.4})
    curve, start, best = (np.asarray(line.get_xydata()).tolist() for line in axis.get_lines())
    assert curve == [[1, 0.5], [2, 0.7], [3, 0.6]]
    assert [y for _, y in start] == [0.4, 0.4]
    assert best == [[2, 0.7]]
    assert [text.get_text() for text in axis.texts] == ["0.7000"]
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["AP50", "AP50, start weights"]


@pytest.mark.parametrize("start", [0.7, 0.8])
def test_start_weights_that_no_epoch_beats_are_marked_as_the_best(start: float) -> None:
    axis = Figure().subplots()
    curves = {"val/ap50": Curve([9, 19], [0.5, 0.7])}
    plots._mark_best(axis, curves, steps_per_epoch=10, start={"val/ap50": start})
    assert np.asarray(axis.get_lines()[0].get_xydata()).tolist() == [[0, start]]


def test_a_flat_average_precision_is_not_blown_up() -> None:
    group = {"val/ap50": Curve([0, 1], [0.5, 0.5001])}
    axis = Figure().subplots()
    plots._draw_group(axis, group, steps_per_epoch=1, start={})
    plots._mark_best(axis, group, steps_per_epoch=1, start={})
    low, high = axis.get_ylim()
    assert 0.02 <= high - low < 0.03
