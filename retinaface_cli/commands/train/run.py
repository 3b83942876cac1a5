"""The workflow of `retinaface train`: check, prepare a folder, train, report."""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from retinaface_cli.commands.console import say
from retinaface_cli.commands.processes import adopt_processes, started_processes
from retinaface_cli.commands.train.options import TrainRequest, resolve_request
from retinaface_cli.commands.train.report import (
    explain_error,
    print_data,
    print_notes,
    print_result,
    print_start,
    print_steps,
)
from retinaface_cli.commands.train.start import Start, build_start, restart
from retinaface_cli.commands.train.trainer import build_callbacks, build_trainer, check_devices, count_processes
from retinaface_cli.data.datamodule import FaceDataModule
from retinaface_cli.data.images import TrainingData, load_training_data
from retinaface_cli.errors import SettingsError
from retinaface_cli.files.atomic import remove_leftovers, write_text_atomic
from retinaface_cli.settings.documentation import render_settings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.checkpoints import RunCheckpoints
from retinaface_cli.training.callbacks.stopping import StopEarly, TrainingInterruptedError
from retinaface_cli.training.fresh_folder import make_run_folder
from retinaface_cli.training.loggers import RunLogger, build_loggers, check_packages
from retinaface_cli.training.module import FaceTrainingModule
from retinaface_cli.training.report import RunStatus, describe_circumstances, write_report
from retinaface_cli.training.run_folder import (
    DEFAULT_PARENT,
    RunFolder,
    folder_of_checkpoint,
    is_first_process,
)

_KNOWN_WARNINGS = (
    ".*does not have many workers.*",  # it is a setting, and documented
    ".*worker processes in total.*",  # likewise
    ".*in eval mode at the start of training.*",  # likewise: trainer.freeze_batch_norm
    ".*LeafSpec.*is deprecated.*",  # Lightning's own, about a newer torch
)


@dataclass(frozen=True)
class _Run:
    """A prepared run; without checkpoints it writes nothing."""

    request: TrainRequest
    start: Start
    module: FaceTrainingModule
    data_module: FaceDataModule
    checkpoints: RunCheckpoints | None
    loggers: tuple[RunLogger, ...]
    facts: dict[str, Any]

    @property
    def settings(self) -> TrainSettings:
        """Settings with all that the start weights said filled in."""
        return self.start.settings

    @property
    def folder(self) -> RunFolder | None:
        """Where everything goes; None where nothing is written."""
        return None if self.checkpoints is None else self.checkpoints.folder


def train(config: str | Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Trains a network as `retinaface train` does, for Python programs.

    Args:
        config: YAML file of settings.
        settings: other values by dotted key, e.g. {"optimizer.lr": 0.01}.

    Returns:
        See run.

    Raises:
        RetinaFaceError: something that the user can put right.
        SystemExit: a signal stopped the training.
    """
    return run(resolve_request(settings or {}, config=str(config)))


def run(request: TrainRequest, *, console: Console | None = None) -> dict[str, Any] | None:
    """Trains a network.

    Args:
        request: what to do.
        console: for all that is said; None: standard output.

    Returns:
        Folder, weights and what report.json says of the outcome; None where nothing was written, and in all processes
        but the first.

    Raises:
        RetinaFaceError: something that the user can put right; all that can be known is checked before the first step.
        SystemExit: a signal stopped the training; its status is 128 and the number of the signal.
    """
    console = console or Console(highlight=False)
    console.quiet = console.quiet or not is_first_process()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    print_notes(console, request.notes, source=request.source)
    request = _adopt_processes(request)
    check_devices(request.settings.trainer)
    check_packages(request.settings.loggers)
    pl.seed_everything(request.settings.seed, verbose=False)
    data = load_training_data(request.settings.data)
    print_data(console, data)
    _check_validation(request.settings, data)
    checkpoint = request.checkpoint
    start = build_start(request.settings) if checkpoint is None else restart(request.settings, checkpoint)
    with warnings.catch_warnings(), ExitStack() as held:
        for known in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=known)
        prepared = _prepare(request, start, data, held)
        print_start(console, start, folder=prepared.folder)
        _train(prepared, console)
    if prepared.checkpoints is None or not is_first_process():
        return None
    folder = prepared.checkpoints.folder
    report = json.loads(folder.report.read_text(encoding="utf-8"))
    outcome = {name: report[name] for name in ("status", "stopped", "best", "duration_seconds")}
    figures = prepared.checkpoints.start_figures
    return {"folder": str(folder.path), "weights": str(folder.best_weights), **outcome, "start_figures": figures}


def _adopt_processes(request: TrainRequest) -> TrainRequest:
    """The request with the numbers of devices and machines that torchrun or SLURM has started."""
    trainer = request.settings.trainer
    devices, num_nodes = adopt_processes(trainer.devices, trainer.num_nodes, started=started_processes())
    adopted = trainer.model_copy(update={"devices": devices, "num_nodes": num_nodes})
    return replace(request, settings=request.settings.model_copy(update={"trainer": adopted}))


def _check_validation(settings: TrainSettings, data: TrainingData) -> None:
    """Raises SettingsError if early stopping has no figure to go by."""
    is_measured = data.has_validation_faces and settings.trainer.limit_val_batches > 0
    if settings.early_stopping.patience is not None and not is_measured:
        raise SettingsError(
            "early_stopping.patience: no validation with faces to judge by; name data.validation or set "
            "data.held_out=0.1"
        )


def _prepare(request: TrainRequest, start: Start, data: TrainingData, held: ExitStack) -> _Run:
    """Makes all that can fail, then the folder of the run, held as long as the stack, and what writes into it."""
    settings = start.settings
    module = FaceTrainingModule(settings, start.network)
    data_module = FaceDataModule(data, settings.data, augmentation=settings.augmentation, seed=settings.seed)
    facts = {
        "command": sys.argv,
        **describe_circumstances(),
        "seed": settings.seed,
        "data_fingerprint": data.fingerprint,
        "data": [source.summary for source in (*data.train, *data.validation)],
        "start": list(start.notes),
    }
    if settings.trainer.fast_dev_run:
        return _Run(request, start, module, data_module, None, (), facts)
    config = render_settings(settings, heading=f"All settings of this run, from {request.source}")
    folder = _choose_folder(request, config, held)
    loggers = build_loggers(
        settings.loggers, folder=folder, experiment_name=settings.experiment_name, resume_step=start.step
    )
    if is_first_process():
        for place in (folder.path, folder.checkpoints):
            remove_leftovers(place)
        write_text_atomic(folder.config, config)
        write_report(folder.report, status="running", facts=facts)
    checkpoints = RunCheckpoints(folder, settings, data_fingerprint=data.fingerprint)
    return _Run(request, start, module, data_module, checkpoints, tuple(loggers), facts)


def _choose_folder(request: TrainRequest, config: str, held: ExitStack) -> RunFolder:
    """The folder of the run that goes on, or a fresh one, made by the first process only."""
    settings = request.settings
    if request.checkpoint is not None:
        found = folder_of_checkpoint(request.checkpoint)
        if found is not None:
            return found
    if is_first_process():
        return held.enter_context(make_run_folder(settings.output, settings.experiment_name, config=config))
    return RunFolder(settings.output or DEFAULT_PARENT / settings.experiment_name)


def _train(run: _Run, console: Console) -> None:
    """Trains, and leaves a report whatever happens."""
    began = time.monotonic()
    status: RunStatus = "failed"
    stopped: str | None = None
    try:
        stopped = _fit(run, console)
        status = "finished" if stopped is None else "stopped early"
    except TrainingInterruptedError as interruption:
        status = "interrupted"
        assert run.folder is not None
        say(console, f"{interruption}; go on with: retinaface train --resume {run.folder.path}")
        if is_first_process():  # Lightning takes another status than 0 of the other processes for a crash
            raise SystemExit(interruption.exit_status) from None
    except Exception as error:
        explained = explain_error(error, run.settings, last=run.folder.last if run.folder else None)
        if explained is error:
            raise
        raise explained from None
    finally:
        seconds = time.monotonic() - began
        if run.checkpoints is not None and is_first_process():
            best = {"epoch": run.checkpoints.best_epoch, "score": run.checkpoints.best_score}
            facts = run.facts | {"duration_seconds": round(seconds, 1), "best": best, "stopped": stopped}
            write_report(run.checkpoints.folder.report, status=status, facts=facts)
    if run.checkpoints is not None and status != "interrupted":
        print_result(
            console,
            run.checkpoints,
            run.settings,
            seconds=seconds,
            stopped=stopped,
            image=run.data_module.example_image,
        )


def _fit(run: _Run, console: Console) -> str | None:
    """Runs Lightning's loop; says why it ended before the last epoch, None where it did not."""
    settings = run.settings
    num_batches = max(1, len(run.data_module.train_dataloader()) // count_processes(settings.trainer))
    print_steps(console, settings, num_batches=num_batches)
    callbacks = build_callbacks(settings, checkpoints=run.checkpoints, console=console)
    trainer = build_trainer(
        settings,
        folder=run.folder,
        callbacks=callbacks,
        loggers=run.loggers,
        num_batches=num_batches,
        has_validation=len(run.data_module.validation_dataset) > 0,
        validates_start=settings.weights is not None and run.start.step is None,
    )
    for logger in run.loggers:
        logger.log_hyperparams(settings.model_dump(mode="json"))
    try:
        trainer.fit(run.module, datamodule=run.data_module, ckpt_path=run.request.checkpoint)
    except SystemExit:
        if trainer.interrupted:  # Lightning ends with 1 after Ctrl-C
            raise SystemExit(128 + signal.SIGINT) from None
        raise
    return next((callback.reason for callback in callbacks if isinstance(callback, StopEarly)), None)
