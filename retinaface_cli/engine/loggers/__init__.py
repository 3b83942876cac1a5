"""Where figures and pictures of a training go: a CSV file, TensorBoard, and the services that log runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from retinaface_cli.engine.loggers.base import RunIds, RunLogger
from retinaface_cli.engine.loggers.comet import CometRun
from retinaface_cli.engine.loggers.metrics_csv import MetricsCsv
from retinaface_cli.engine.loggers.mlflow import MlflowRun
from retinaface_cli.engine.loggers.neptune import NeptuneRun
from retinaface_cli.engine.loggers.tensorboard import TensorBoardRun
from retinaface_cli.engine.loggers.wandb import WandbRun
from retinaface_cli.engine.run_folder import RunFolder
from retinaface_cli.settings.trainer import LoggerSettings

__all__ = ["RunLogger", "build_loggers"]

_SERVICES: Mapping[str, Callable[..., RunLogger]] = {
    "tensorboard": TensorBoardRun,
    "wandb": WandbRun,
    "neptune": NeptuneRun,
    "mlflow": MlflowRun,
    "comet": CometRun,
}


def build_loggers(
    settings: LoggerSettings, *, folder: RunFolder, experiment_name: str, resume_step: int | None = None
) -> list[RunLogger]:
    """The loggers that the settings switch on; nothing is written or sent before the first figure.

    Args:
        settings: which ones.
        folder: of the run; local files go there.
        experiment_name: name of the run in the services.
        resume_step: number of optimizer steps done by the checkpoint that training goes on from; None: a fresh run.

    Raises:
        SettingsError: a package is not installed.
    """
    loggers: list[RunLogger] = []
    if settings.csv:
        loggers.append(MetricsCsv(folder.metrics, resume_step=resume_step))
    ids = RunIds(folder.logger_ids)
    for name, build in _SERVICES.items():
        group: Any = getattr(settings, name)
        if group is not None:
            loggers.append(
                build(group, folder=folder.path, experiment_name=experiment_name, ids=ids, resume_step=resume_step)
            )
    return loggers
