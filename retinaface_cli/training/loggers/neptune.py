"""Neptune."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import NeptuneSettings
from retinaface_cli.training.loggers.base import RunIds, RunLogger


class NeptuneRun(RunLogger):
    """A run at Neptune, or its offline files in the folder `neptune` of the run.

    Written on the client itself, because Lightning has given its own logger up.
    """

    def __init__(
        self,
        settings: NeptuneSettings,
        *,
        folder: Path,
        experiment_name: str,
        ids: RunIds,
        resume_step: int | None,
    ) -> None:
        super().__init__("neptune")
        del resume_step
        self._settings, self._folder, self._experiment_name, self._ids = settings, folder, experiment_name, ids
        self._run: Any = None

    def _open(self) -> None:
        os.environ.setdefault("NEPTUNE_DATA_DIRECTORY", str(self._folder / "neptune"))  # its only way to be told
        import neptune

        known_id = self._ids.get("neptune")
        if known_id is not None and not self._settings.offline:
            self._run = neptune.init_run(project=self._settings.project, with_id=known_id)
            return
        self._run = neptune.init_run(
            project=self._settings.project,
            name=self._experiment_name,
            tags=list(self._settings.tags),
            mode="offline" if self._settings.offline else "async",
            capture_stdout=False,
            capture_stderr=False,
            capture_hardware_metrics=False,
            git_ref=False,
        )
        if not self._settings.offline:
            self._ids.set("neptune", self._run["sys/id"].fetch())

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._run["settings"] = {key: str(value) for key, value in flatten(settings)}

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._run[name].append(value, step=step)

    def _write_image(self, name: str, path: Path, step: int) -> None:
        del step
        self._run[name].upload(str(path))

    def _close(self, *, succeeded: bool) -> None:
        self._run["succeeded"] = succeeded
        self._run.stop()
