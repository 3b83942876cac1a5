"""Where figures and images of a training go: a CSV file, TensorBoard, and the services that log runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.trainer import LoggerSettings
from retinaface_cli.training.loggers.base import LoggedRun, RunLogger, ServiceLogger
from retinaface_cli.training.loggers.comet import CometRun
from retinaface_cli.training.loggers.metrics_csv import MetricsCsv
from retinaface_cli.training.loggers.mlflow import MlflowRun
from retinaface_cli.training.loggers.neptune import NeptuneRun
from retinaface_cli.training.loggers.tensorboard import TensorBoardRun
from retinaface_cli.training.loggers.wandb import WandbRun
from retinaface_cli.training.run_folder import RunFolder

__all__ = ["RunLogger", "build_loggers", "check_packages"]


_SERVICES: Mapping[type[ServiceLogger[Any]], str] = {
    TensorBoardRun: "tensorboard",
    WandbRun: "wandb",
    NeptuneRun: "neptune",
    MlflowRun: "mlflow",
    CometRun: "comet_ml",
}
"""The loggers by the module that each needs."""


def check_packages(settings: LoggerSettings) -> None:
    """Checks that the packages of the loggers are there, without importing them.

    Raises:
        SettingsError: one is not; the message has the command that installs it.
    """
    for logger, module in _SERVICES.items():
        if getattr(settings, logger.service) is not None and importlib.util.find_spec(module) is None:
            package = module.replace("_", "-")
            raise SettingsError(
                f"loggers.{logger.service}: the package {package} is not installed: pip install {package}"
            )


def build_loggers(
    settings: LoggerSettings, *, folder: RunFolder, experiment_name: str, resume_step: int | None = None
) -> list[RunLogger]:
    """The loggers that the settings switch on; nothing is written or sent before the first figure.

    check_packages comes first.

    Args:
        settings: which ones.
        folder: of the run; local files go there.
        experiment_name: name of the run in the services.
        resume_step: number of optimizer steps done by the checkpoint that training goes on from; None: a fresh run.
    """
    loggers: list[RunLogger] = []
    if settings.csv:
        loggers.append(MetricsCsv(folder.metrics, resume_step=resume_step))
    run = LoggedRun(folder, experiment_name, resume_step)
    chosen = [(logger, getattr(settings, logger.service)) for logger in _SERVICES]
    return loggers + [logger(group, run) for logger, group in chosen if group is not None]
