"""TensorBoard."""

from __future__ import annotations

from pathlib import Path

import cv2
from pytorch_lightning.loggers import TensorBoardLogger

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import TensorBoardSettings
from retinaface_cli.training.loggers.base import ServiceLogger


class TensorBoardRun(ServiceLogger[TensorBoardSettings]):
    """Event files in the run's folder; a resumed run hides what was logged after its checkpoint."""

    service = "tensorboard"
    _inner: TensorBoardLogger

    def _open(self) -> None:
        self._inner = TensorBoardLogger(
            self._run.folder.path, name="", version=self._settings.name, purge_step=self._run.resume_step
        )

    def _write_settings(self, settings: dict[str, object]) -> None:
        lines = [f"    {key}: {value}" for key, value in flatten(settings)]  # four spaces: a code block in Markdown
        self._inner.experiment.add_text("settings", "\n".join(lines), 0)

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._inner.log_metrics(metrics, step)
        self._inner.experiment.flush()

    def _write_image(self, name: str, path: Path, step: int) -> None:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        self._inner.experiment.add_image(name, image, step, dataformats="HWC")

    def _close(self, *, succeeded: bool) -> None:
        self._inner.finalize("success" if succeeded else "failed")
