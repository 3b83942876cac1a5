"""MLflow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import MlflowSettings
from retinaface_cli.training.loggers.base import ServiceLogger

_MAX_PARAM_LENGTH = 500  # of MLflow's own tracking store
_MAX_PARAMS = 100  # in one call


class MlflowRun(ServiceLogger[MlflowSettings]):
    """A run at an MLflow server, or in a database of its own in the run's folder.

    Written on the client itself: Lightning's logger writes all settings a second time when a run goes on, which MLflow
    refuses where one has changed.
    """

    service = "mlflow"
    _client: Any
    _run_id: str

    def _open(self) -> None:
        from mlflow.tracking import MlflowClient

        uri = self._settings.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{self._run.folder.path.absolute() / 'mlflow.db'}")
        known_id = self._known_id()
        if known_id is not None:
            self._run_id = known_id
            self._client.update_run(known_id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(self._settings.experiment)
        experiment_id = experiment.experiment_id if experiment else self._create_experiment(is_local=uri is None)
        self._run_id = self._client.create_run(experiment_id, run_name=self._run.experiment_name).info.run_id
        self._keep_id(self._run_id)

    def _create_experiment(self, *, is_local: bool) -> str:
        location = (self._run.folder.path.absolute() / "mlflow_artifacts").as_uri() if is_local else None
        created: str = self._client.create_experiment(self._settings.experiment, artifact_location=location)
        return created

    def _write_settings(self, settings: dict[str, Any]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(self._run_id).data.params  # a parameter cannot be written twice
        params = [Param(key, str(value)[:_MAX_PARAM_LENGTH]) for key, value in flatten(settings) if key not in known]
        for start in range(0, len(params), _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=params[start : start + _MAX_PARAMS])

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run_id, name, value, step=step)

    def _write_image(self, name: str, path: Path, step: int) -> None:
        self._client.log_artifact(self._run_id, str(path), artifact_path=name.rpartition("/")[0] or None)

    def _close(self, *, succeeded: bool) -> None:
        self._client.set_terminated(self._run_id, "FINISHED" if succeeded else "FAILED")
