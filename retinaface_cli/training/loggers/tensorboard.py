"""TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2

from retinaface_cli.settings.base import flatten
from retinaface_cli.settings.trainer import TensorBoardSettings
from retinaface_cli.training.loggers.base import RunIds, RunLogger


class TensorBoardRun(RunLogger):
    """Event files in the run's folder; a resumed run hides what was logged after its checkpoint."""

    def __init__(
        self,
        settings: TensorBoardSettings,
        *,
        folder: Path,
        experiment_name: str,
        ids: RunIds,
        resume_step: int | None,
    ) -> None:
        super().__init__("tensorboard")
        del experiment_name, ids
        self._folder = folder / settings.name
        self._resume_step = resume_step
        self._writer: Any = None

    def _open(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=self._resume_step)

    def _write_settings(self, settings: dict[str, Any]) -> None:
        lines = [f"    {key}: {value}" for key, value in flatten(settings)]  # four spaces: a code block in Markdown
        self._writer.add_text("settings", "\n".join(lines), 0)

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def _write_image(self, name: str, path: Path, step: int) -> None:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        self._writer.add_image(name, image, step, dataformats="HWC")

    def _close(self, *, succeeded: bool) -> None:
        del succeeded
        self._writer.close()
