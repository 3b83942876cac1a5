"""Where figures and images of a training go: a CSV file, TensorBoard, and the services that log runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.trainer import LoggerSettings
from retinaface_cli.training.loggers.base import RunIds, RunLogger
from retinaface_cli.training.loggers.comet import CometRun
from retinaface_cli.training.loggers.metrics_csv import MetricsCsv
from retinaface_cli.training.loggers.mlflow import MlflowRun
from retinaface_cli.training.loggers.neptune import NeptuneRun
from retinaface_cli.training.loggers.tensorboard import TensorBoardRun
from retinaface_cli.training.loggers.wandb import WandbRun
from retinaface_cli.training.run_folder import RunFolder

__all__ = ["RunLogger", "build_loggers", "check_packages"]


class _Service(NamedTuple):
    """How a logger is made, and the package that it needs: the module's name and that of the package."""

    build: Callable[..., RunLogger]
    module: str
    package: str


_SERVICES: Mapping[str, _Service] = {
    "tensorboard": _Service(TensorBoardRun, "tensorboard", "tensorboard"),
    "wandb": _Service(WandbRun, "wandb", "wandb"),
    "neptune": _Service(NeptuneRun, "neptune", "neptune"),
    "mlflow": _Service(MlflowRun, "mlflow", "mlflow"),
    "comet": _Service(CometRun, "comet_ml", "comet-ml"),
}


def check_packages(settings: LoggerSettings) -> None:
    """Checks that the packages of the loggers are there, without importing them.

    Raises:
        SettingsError: one is not; the message has the command that installs it.
    """
    for name, service in _SERVICES.items():
        if getattr(settings, name) is not None and importlib.util.find_spec(service.module) is None:
            package = service.package
            raise SettingsError(f"loggers.{name}: the package {package} is not installed: pip install {package}")


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
    ids = RunIds(folder.logger_ids)
    for name, service in _SERVICES.items():
        group: Any = getattr(settings, name)
        if group is not None:
            loggers.append(
                service.build(
                    group, folder=folder.path, experiment_name=experiment_name, ids=ids, resume_step=resume_step
                )
            )
    return loggers
