"""What all loggers of a run have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from retinaface_cli.errors import SettingsError
from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.settings.base import AnySettings
from retinaface_cli.training.run_folder import RunFolder


@dataclass(frozen=True)
class LoggedRun:
    """The run that is logged.

    Attributes:
        folder: of the run; local files go there.
        experiment_name: name of the run in the services.
        resume_step: number of optimizer steps done by the checkpoint that training goes on from; None: a fresh run.
    """

    folder: RunFolder
    experiment_name: str
    resume_step: int | None = None


class RunLogger(Logger):
    """A logger that also takes images and is opened at the first use, in the first process only."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._is_open = False

    @property
    def name(self) -> str:
        """Name of the place."""
        return self._name

    @property
    def version(self) -> str:
        """Always empty: a run has a folder, no version."""
        return ""

    @rank_zero_only
    def open(self) -> None:
        """Makes the connection or file, so that a missing key shows before the first step.

        Raises:
            SettingsError: the service refuses.
        """
        if self._is_open:
            return
        try:
            self._open()
        except SettingsError:
            raise
        except Exception as error:  # each service has errors of its own kinds
            reason = " ".join(str(error).split())
            raise SettingsError(f"loggers.{self._name}: {type(error).__name__}: {reason}") from error
        self._is_open = True

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Takes the settings of the run, a nested mapping."""
        self.open()
        self._write_settings(params if isinstance(params, dict) else vars(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Takes figures by name at an optimizer step, counted from 0."""
        self.open()
        self._write_metrics({name: float(value) for name, value in metrics.items()}, step or 0)

    @rank_zero_only
    def log_image(self, name: str, path: Path, *, step: int) -> None:
        """Takes an image file."""
        self.open()
        self._write_image(name, path, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run: `success`, or another word for its failure."""
        if self._is_open:
            self._close(succeeded=status in ("success", "finished"))
            self._is_open = False

    @abstractmethod
    def _open(self) -> None:
        """Makes the connection or file."""

    @abstractmethod
    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Writes figures."""

    def _write_settings(self, settings: dict[str, Any]) -> None:
        """Writes the settings; a place that has no room for them passes them over."""

    def _write_image(self, name: str, path: Path, step: int) -> None:
        """Writes an image; a place that has no room for images passes it over."""

    def _close(self, *, succeeded: bool) -> None:
        """Ends the run."""


class ServiceLogger(RunLogger, Generic[AnySettings]):
    """A logger by its settings.

    The run's ids at the services are kept in its folder, so that a resumed run goes on under the same.
    """

    service: ClassVar[str]
    """Name among the settings."""

    def __init__(self, settings: AnySettings, run: LoggedRun) -> None:
        super().__init__(self.service)
        self._settings = settings
        self._run = run

    def _read_ids(self) -> dict[str, str]:
        path = self._run.folder.logger_ids
        ids: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return ids

    def _known_id(self) -> str | None:
        """The run's id at the service; None before it has one."""
        return self._read_ids().get(self.service)

    def _keep_id(self, run_id: str) -> None:
        ids = self._read_ids() | {self.service: run_id}
        write_text_atomic(self._run.folder.logger_ids, json.dumps(ids, indent=2) + "\n")
