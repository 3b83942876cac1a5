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


class RunIds:
    """By which ids a run is known to the services, kept in its folder so that a resumed run goes on under the same."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, service: str) -> str | None:
        """The id that the run has at a service; None before it has one."""
        return self._read().get(service)

    def set(self, service: str, run_id: str) -> None:
        """Keeps the id."""
        write_text_atomic(self._path, json.dumps(self._read() | {service: run_id}, indent=2) + "\n")

    def _read(self) -> dict[str, str]:
        if not self._path.is_file():
            return {}
        ids: dict[str, str] = json.loads(self._path.read_text(encoding="utf-8"))
        return ids


@dataclass(frozen=True)
class LoggedRun:
    """The run that is logged.

    Attributes:
        folder: of the run; local files go there.
        experiment_name: name of the run in the services.
        ids: of the run in the services.
        resume_step: number of optimizer steps done by the checkpoint that training goes on from; None: a fresh run.
    """

    folder: Path
    experiment_name: str
    ids: RunIds
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
    """A logger by its settings."""

    service: ClassVar[str]
    """Name among the settings."""

    def __init__(self, settings: AnySettings, run: LoggedRun) -> None:
        super().__init__(self.service)
        self._settings = settings
        self._run = run


class LightningLogger(ServiceLogger[AnySettings]):
    """One of Lightning's own loggers, which also takes images."""

    @abstractmethod
    def _make(self) -> Logger:
        """Lightning's logger."""

    def _open(self) -> None:
        self._inner = self._make()

    def _write_settings(self, settings: dict[str, Any]) -> None:
        self._inner.log_hyperparams(settings)

    def _write_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._inner.log_metrics(metrics, step)

    def _close(self, *, succeeded: bool) -> None:
        self._inner.finalize("success" if succeeded else "failed")
