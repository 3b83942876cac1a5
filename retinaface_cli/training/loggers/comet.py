"""Comet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import CometSettings
from retinaface_cli.training.loggers.base import ServiceLogger


class CometRun(ServiceLogger[CometSettings]):
    """An experiment at Comet, or its offline archive in the folder `comet` of the run.

    Written on the client itself: Lightning's logger writes nothing at all when it is offline.
    """

    service = "comet"
    _experiment: Any

    def _open(self) -> None:
        os.environ.setdefault("COMET_DISABLE_AUTO_LOGGING", "1")
        import comet_ml

        quiet: dict[str, Any] = dict.fromkeys(
            ("log_code", "log_graph", "auto_output_logging", "log_git_metadata", "log_git_patch"), False
        )
        config = comet_ml.ExperimentConfig(
            name=self._run.experiment_name,
            offline_directory=str(self._run.folder.path / "comet"),
            display_summary_level=0,
            **quiet,
        )
        known_id = self._known_id()
        self._experiment = comet_ml.start(
            project=self._settings.project,
            workspace=self._settings.workspace,
            experiment_key=known_id,
            mode="create" if known_id is None or self._settings.offline else "get",
            online=not self._settings.offline,
            experiment_config=config,
        )
        self._keep_id(self._experiment.get_key())

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._experiment.log_parameters(dict(flatten(settings)))

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        epoch = metrics.get("epoch")
        self._experiment.log_metrics(metrics, step=step, epoch=None if epoch is None else int(epoch))

    def _write_image(self, name: str, path: Path, step: int) -> None:
        self._experiment.log_image(str(path), name=name, step=step)

    def _close(self, *, succeeded: bool) -> None:
        self._experiment.log_other("succeeded", succeeded)
        self._experiment.end()
