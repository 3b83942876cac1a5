from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.visualization import training_plots
from retinaface_cli.visualization.training_plots import Curve, draw_curves

STEPS = list(range(0, 1000, 2))
LOSSES = [3.0 / (1 + step / 100) for step in STEPS]


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
    monkeypatch.setattr(training_plots, "_draw_group", lambda _, group: drawn.append(list(group)))
    steps = {"train/loss": Curve([0, 1], [3.0, 2.0])}
    draw_curves(steps, tmp_path / "first.png", title="in the first epoch")
    draw_curves({**steps, "train/loss_epoch": Curve([1], [2.5])}, tmp_path / "second.png", title="behind it")
    assert drawn == [["train/loss"], ["train/loss_epoch"]]
