"""Neptune."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import NeptuneSettings
from retinaface_cli.training.loggers.base import ServiceLogger


class NeptuneRun(ServiceLogger[NeptuneSettings]):
    """A run at Neptune, or its offline files in the folder `neptune` of the run.

    Written on the client itself, because Lightning has given its own logger up.
    """

    service = "neptune"
    _client: Any

    def _open(self) -> None:
        folder = self._run.folder.path / "neptune"
        os.environ.setdefault("NEPTUNE_DATA_DIRECTORY", str(folder))  # its only way to be told
        import neptune

        known_id = self._known_id()
        if known_id is not None and not self._settings.offline:
            self._client = neptune.init_run(project=self._settings.project, with_id=known_id)
            return
        self._client = neptune.init_run(
            project=self._settings.project,
            name=self._run.experiment_name,
            tags=list(self._settings.tags),
            mode="offline" if self._settings.offline else "async",
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
            git_ref=False,
        )
        if not self._settings.offline:
            self._keep_id(self._client["sys/id"].fetch())

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._client["settings"] = {key: str(value) for key, value in flatten(settings)}

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._client[name].append(value, step=step)

    def _write_image(self, name: str, path: Path, step: int) -> None:
        self._client[name].upload(str(path))

    def _close(self, *, succeeded: bool) -> None:
        self._client["succeeded"] = succeeded
        self._client.stop()
