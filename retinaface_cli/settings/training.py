"""Everything that `retinaface train` can be told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import model_validator

from retinaface_cli.settings.base import Option
from retinaface_cli.settings.data import AugmentationSettings, DataSettings, LocalPath
from retinaface_cli.settings.loss import LossSettings
from retinaface_cli.settings.network import NetworkSettings
from retinaface_cli.settings.optimization import (
    CosineSettings,
    EmaSettings,
    OptimizerSettings,
    SchedulerSettings,
    SgdSettings,
)
from retinaface_cli.settings.trainer import (
    CheckpointSettings,
    EarlyStoppingSettings,
    LoggerSettings,
    RunSettings,
    TrainerSettings,
    ValidationSettings,
)


class TrainSettings(RunSettings):
    """A whole training run; the only group without a default is `data`."""

    weights: Annotated[str | None, Option(short="-w")] = None
    """Checkpoint to start from, all that `infer -w` takes; heads and anchors may differ. Empty: backbone_weights."""

    backbone_weights: Annotated[Literal["imagenet", "none"] | LocalPath, Option()] = "imagenet"
    """Start weights of the backbone where `weights` is empty: imagenet: fetched once (not for mobilenet0.25, 0.5 and
    1.0: name a file, e.g. mobilenetV1X0.25_pretrain.tar); none: random."""

    network: NetworkSettings = NetworkSettings()
    """The network. With `weights`, what is not named here is taken from the checkpoint."""

    data: DataSettings
    """Label files, images and batches."""

    augmentation: AugmentationSettings = AugmentationSettings()
    """What is done to a training image, from top to bottom."""

    loss: LossSettings = LossSettings()
    """What the network learns from."""

    optimizer: OptimizerSettings = SgdSettings()
    """How the weights are learned; kinds: sgd, adamw."""

    scheduler: SchedulerSettings = CosineSettings()
    """Learning rate over time; kinds: constant, multi_step, cosine, warm_restarts, one_cycle."""

    ema: EmaSettings = EmaSettings()
    """Moving average of the weights."""

    trainer: TrainerSettings = TrainerSettings()
    """Devices, precision and length of the training."""

    validation: ValidationSettings = ValidationSettings()
    """How the validation is done; its images and their scale are in `data`."""

    checkpoint: CheckpointSettings = CheckpointSettings()
    """What is kept of the training."""

    early_stopping: EarlyStoppingSettings = EarlyStoppingSettings()
    """When to stop before the last epoch."""

    loggers: LoggerSettings = LoggerSettings()
    """Where the figures go."""

    @model_validator(mode="after")
    def _check_monitor(self) -> TrainSettings:
        monitor = self.checkpoint.monitor
        if monitor.startswith("val/wider") and self.validation.wider_ground_truth is None:
            raise ValueError(f"checkpoint.monitor is {monitor}, which needs validation.wider_ground_truth")
        return self
