"""Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retinaface_cli.settings.trainer import WandbSettings
from retinaface_cli.training.loggers.base import RunIds, RunLogger


class WandbRun(RunLogger):
    """A run at Weights & Biases, or its offline files in the folder `wandb` of the run."""

    def __init__(
        self,
        settings: WandbSettings,
        *,
        folder: Path,
        experiment_name: str,
        ids: RunIds,
        resume_step: int | None,
    ) -> None:
        super().__init__("wandb")
        del resume_step
        self._settings, self._folder, self._experiment_name, self._ids = settings, folder, experiment_name, ids
        self._run: Any = None

    def _open(self) -> None:
        import wandb

        self._run = wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            name=self._experiment_name,
            tags=list(self._settings.tags),
            dir=str(self._folder),
            id=self._ids.get("wandb"),
            resume="allow",
            mode="offline" if self._settings.offline else None,
            settings=wandb.Settings(console="off"),
        )
        self._ids.set("wandb", self._run.id)
        self._run.define_metric("global_step")
        self._run.define_metric("*", step_metric="global_step")

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._run.config.update(settings, allow_val_change=True)

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._run.log({**metrics, "global_step": step})

    def _write_image(self, name: str, path: Path, step: int) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path)), "global_step": step})

    def _close(self, *, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)
