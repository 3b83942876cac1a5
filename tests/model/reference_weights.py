"""The deterministic weights that recorded network outputs were made with, under the older implementations' names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def to_old_names(keys: Mapping[str, Tensor]) -> dict[str, str]:
    """Our names -> biubug6's, for a state dict of ours."""
    return {key: _to_old_name(key) for key in keys}


def _to_old_name(key: str) -> str:
    parts = key.split(".")
    if parts[0] == "backbone":
        return ".".join(["body", *parts[1:]])
    if parts[:2] == ["pyramid", "lateral"]:
        return ".".join(["fpn", f"output{int(parts[2]) + 1}", *parts[3:]])
    if parts[:2] == ["pyramid", "merge"]:
        return ".".join(["fpn", f"merge{int(parts[2]) + 1}", *parts[3:]])
    if parts[0] == "context":
        names = {
            "conv3x3": "conv3X3",
            "conv5x5_1": "conv5X5_1",
            "conv5x5_2": "conv5X5_2",
            "conv7x7_2": "conv7X7_2",
            "conv7x7_3": "conv7x7_3",
        }
        return ".".join([f"ssh{int(parts[1]) + 1}", names[parts[2]], *parts[3:]])
    heads = {"class_heads": "ClassHead", "box_heads": "BboxHead", "landmark_heads": "LandmarkHead"}
    return ".".join([heads[parts[0]], parts[1], "conv1x1", *parts[2:]])


def draw_weights(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Weights drawn by the position of each old name in sorted order; counters are left out but counted."""
    weights = {}
    for number, key in enumerate(sorted(shapes)):
        if not key.endswith("num_batches_tracked"):
            weights[key] = torch.from_numpy(_draw(key, tuple(shapes[key]), number))
    return weights


def _draw(key: str, shape: tuple[int, ...], number: int) -> np.typing.NDArray[np.float32]:
    random = np.random.RandomState(number)
    if key.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape)
    elif key.endswith("running_mean"):
        values = random.normal(0, 0.1, shape)
    elif len(shape) == 1 and key.endswith("weight"):
        values = random.uniform(0.2, 0.6, shape)
    elif len(shape) == 1:
        values = random.normal(0, 0.1, shape)
    else:
        values = random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return values.astype(np.float32)
