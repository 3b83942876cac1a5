"""Weights & Biases."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.loggers import WandbLogger

from retinaface_cli.settings.trainer import WandbSettings
from retinaface_cli.training.loggers.base import ServiceLogger


class WandbRun(ServiceLogger[WandbSettings]):
    """A run at Weights & Biases, or its offline files in the folder `wandb` of the run."""

    service = "wandb"
    _inner: WandbLogger

    def _open(self) -> None:
        import wandb

        self._inner = WandbLogger(
            name=self._run.experiment_name,
            save_dir=self._run.folder.path,
            id=self._known_id(),
            project=self._settings.project,
            offline=self._settings.offline,
            entity=self._settings.entity,
            tags=list(self._settings.tags),
            settings=wandb.Settings(console="off"),
        )
        self._keep_id(self._inner.experiment.id)

    def _write_settings(self, settings: dict[str, object]) -> None:
        self._inner.experiment.config.update(settings, allow_val_change=True)  # a resumed run may change some

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._inner.log_metrics(metrics, step)

    def _write_image(self, name: str, path: Path, step: int) -> None:
        self._inner.log_image(name, [str(path)], step)

    def _close(self, *, succeeded: bool) -> None:
        self._inner.experiment.finish(exit_code=0 if succeeded else 1)
