"""Starting points of a training config by name, for `retinaface train --init-config`."""

from __future__ import annotations

from typing import Any

from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.training import TrainSettings

_WIDER: dict[str, Any] = {
    "train": [{"labels": "data/wider/train/label.txt", "images": "data/wider/train/images"}],
    "validation": [{"labels": "data/wider/val/label.txt", "images": "data/wider/val/images"}],
}

_RECIPE: dict[str, Any] = {
    "loss": {
        "matching": {"name": "atss"},
        "classification": {"name": "quality_focal"},
        "box": {"name": "diou"},
        "weights": {"landmarks": 0.25},
    },
    "scheduler": {"name": "cosine", "warmup_epochs": 1},
}
"""What trains best from ImageNet weights; see examples/configs/mobilenet0.25_small.yaml."""

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet0.25": (
        "MobileNet-0.25 on WIDER FACE, from ImageNet weights.\n"
        "Put in: data.train, data.validation, and backbone_weights (the file mobilenetV1X0.25_pretrain.tar).",
        {
            "experiment_name": "mobilenet0.25",
            "network": {"backbone": "mobilenet0.25"},
            "backbone_weights": "mobilenetV1X0.25_pretrain.tar",
            "data": {**_WIDER, "batch_size": 16},
            "optimizer": {"name": "sgd", "lr": 0.02},
            "trainer": {"max_epochs": 100, "gradient_clip_norm": 10},
            **_RECIPE,
        },
    ),
    "resnet50": (
        "ResNet-50 on WIDER FACE, from ImageNet weights, which are fetched once.\nPut in: data.train, data.validation.",
        {
            "experiment_name": "resnet50",
            "network": {"backbone": "resnet50"},
            "data": {**_WIDER, "image_size": 840, "batch_size": 6},
            "optimizer": {"name": "sgd", "lr": 0.01, "reference_batch_size": 24},
            "trainer": {
                "accelerator": "gpu",
                "max_epochs": 100,
                "precision": "16",
                "gradient_clip_norm": 10,
            },
            **_RECIPE,
        },
    ),
    "custom": (
        "Your own faces, from the detector that the package carries: little data and few epochs are enough.\n"
        "Put in: data.train (any format that `retinaface convert-labels` reads), and weights.",
        {
            "experiment_name": "custom",
            "weights": "mobilenet0.25",
            "data": {"train": [{"labels": "labels.json", "images": "images"}], "held_out": 0.1, "batch_size": 16},
            "optimizer": {"name": "sgd", "lr": 0.001},
            "scheduler": {"name": "cosine", "warmup_epochs": 1},
            "trainer": {"max_epochs": 30},
            "early_stopping": {"patience": 10},
        },
    ),
}
"""By name: the heading of the file, and what differs from the defaults."""


def starter_config(name: str) -> str:
    """A whole commented config that trains after its paths are put in."""
    heading, values = PRESETS[name]
    settings = validate_settings(TrainSettings, values, source=name)
    without = ("network",) if settings.weights is not None else ()  # the checkpoint says what its network is
    return render_settings(settings, heading=f"{heading}\nTrain with: retinaface train THIS_FILE", without=without)
