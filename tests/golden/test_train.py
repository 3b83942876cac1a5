"""Two training steps from a fixed seed: weights and figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.golden.golden import Tolerance, check_json, relative_files, retinaface, write_image

SIDE = 96
BOXES = ([20, 16, 60, 68], [8, 30, 40, 70], [36, 10, 84, 66], [24, 24, 48, 56])
POINT_PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
SETTINGS = {
    "experiment_name": "golden",
    "backbone_weights": "none",
    "data.image_size": 64,
    "data.batch_size": 2,
    "data.validation_scale": 64,
    "data.num_workers": 0,
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 1,
    "trainer.log_every_n_steps": 1,
}
METRIC = Tolerance(relative=1e-4)
SCORES = {name: Tolerance(absolute=0.01) for name in ("val/ap50", "val/nme_eyes", "val/nme_box")}
"""Of faces found by chance, whose order may turn with the last digit."""


def write_data(folder: Path) -> Path:
    """Four images with a bright face each, and a config that trains on them and measures on them."""
    entries = []
    for number, box in enumerate(BOXES):
        left, top, right, bottom = box
        image = np.random.default_rng(number).integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
        image[top:bottom, left:right] += np.uint8(120)
        points = np.array(box[:2]) + POINT_PLACES * (right - left, bottom - top)
        for x, y in points.astype(int):
            image[y - 1 : y + 2, x - 1 : x + 2] = 0
        write_image(folder / f"images/{number}.png", image)
        entries.append({"file_name": f"{number}.png", "annotations": [{"bbox": box, "landmarks": points.tolist()}]})
    (folder / "labels.json").write_text(json.dumps(entries))
    source = [{"labels": str(folder / "labels.json"), "images": str(folder / "images")}]
    config = folder / "config.yaml"
    config.write_text(json.dumps({"data": {"train": source, "validation": source}}))
    return config


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows without empty cells and speeds."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def summarize(tensor: torch.Tensor) -> list[float]:
    """The sum, and the sum of absolute values."""
    values = tensor.double()
    return [values.sum().item(), values.abs().sum().item()]


STARTS = {
    "from_scratch": (("--set", "optimizer.lr=1e-6"), Tolerance(absolute=1e-6, relative=1e-4)),
    "fine_tuned": (("-w", "mobilenet0.25", "--set", "trainer.freeze_batch_norm=true"), Tolerance(relative=1e-5)),
}
"""Options of trainings that do not blow up the last digit, in which processors differ, and how near weights must be."""


@pytest.mark.parametrize("start", STARTS)
def test_two_training_steps_lead_to_the_same_weights_and_figures_as_ever(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options, near = STARTS[start]
    config = write_data(tmp_path / "faces")
    changes = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    code = retinaface("train", config, "--seed", "3", "-o", "run", *changes, *options)
    run = tmp_path / "run"
    actual = {
        "exit_code": code,
        "files": relative_files(run),
        "metrics": read_metrics(run / "metrics.csv"),
        "weights": {name: summarize(tensor) for name, tensor in load_file(run / "best.safetensors").items()},
    }
    check_json(f"train/{start}", actual, weights=near, metrics=METRIC, **SCORES)
