"""The folder of a fresh training run: made, or taken over from a run that ended before its first checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retinaface_cli.errors import SettingsError
from retinaface_cli.files.atomic import lock_handle, release_handle, remove_leftovers, writing
from retinaface_cli.files.names import TEMPORARY_PREFIX
from retinaface_cli.training.run_folder import DEFAULT_PARENT, RunFolder

_MAX_LOCK_SECONDS = 10.0
"""How long the data loaders of a killed process may live on."""


@contextmanager
def make_run_folder(output: Path | None, experiment_name: str, *, config: str) -> Iterator[RunFolder]:
    """Makes a folder for a fresh run; never one in which another run lies. It is in use while the block runs.

    A folder is taken over, and what the run before wrote is deleted, if that run had the same settings, ended before
    its first checkpoint, and left nothing but its own files.

    Args:
        output: the folder itself; it may exist if it is empty.
        experiment_name: where no output is named: the folder's name in runs/train, with -2, -3, ... where taken.
        config: the text that config.yaml will have.

    Raises:
        SettingsError: `output` holds other files or another run, is in use, or is a file.
        OutputError: the folder cannot be made.
    """
    folder = _make_numbered_folder(experiment_name) if output is None else RunFolder(output)
    if folder.path.is_file():
        raise SettingsError(_explain_refusal(folder))
    with writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with _hold(folder.path) as is_held:
        if any(folder.path.iterdir()):
            if not (is_held and _is_abandoned(folder, config)):
                raise SettingsError(_explain_refusal(folder))
            _clear(folder)
            folder = RunFolder(folder.path, is_taken_over=True)
        yield folder


def _explain_refusal(folder: RunFolder) -> str:
    """Why a folder cannot be the output of a fresh run, and what to do."""
    if folder.last.is_file():
        return f"{folder.path}: holds files already; go on with that run by --resume last, or name another --output"
    return (
        f"{folder.path}: holds files already, but no checkpoint to go on from; name another --output, or delete the "
        "folder if nothing in it is needed"
    )


@contextmanager
def _hold(path: Path) -> Iterator[bool]:
    """Marks a folder as in use until the block or the process ends; gives whether this system can tell.

    Raises:
        SettingsError: a living process uses it.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows
        yield False
        return
    try:
        yield _lock(handle, path)
    finally:
        with contextlib.suppress(OSError):  # a disk without locks
            release_handle(handle)
        os.close(handle)


def _lock(handle: int, path: Path) -> bool:
    """Locks a folder; gives whether it can be locked. See _hold."""
    end = time.monotonic() + _MAX_LOCK_SECONDS
    while True:
        try:
            lock_handle(handle)
            return sys.platform != "win32"
        except BlockingIOError:
            if time.monotonic() > end:
                raise SettingsError(f"{path}: another training writes into it; name another --output") from None
            time.sleep(0.2)
        except OSError:
            return False


def _is_abandoned(folder: RunFolder, config: str) -> bool:
    """Whether a folder holds nothing but what a run of this config wrote before its first checkpoint.

    The folder must be locked: that the run has ended is known by that on the machine that it ran on, and by SLURM's
    word where SLURM has started its job again.
    """
    entries = [entry for entry in folder.path.iterdir() if not _is_leftover(entry)]
    if not all(_is_written_early(entry, folder) for entry in entries):
        return False
    try:
        is_same = not entries or folder.config.read_text(encoding="utf-8") == config
        report = json.loads(folder.report.read_text(encoding="utf-8")) if folder.report in entries else {}
    except (OSError, ValueError):
        return False
    if not isinstance(report, dict):
        return False
    is_restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    is_its_job = is_restarted and report.get("slurm_job_id") == os.environ.get("SLURM_JOB_ID")
    return is_same and (report.get("machine", platform.node()) == platform.node() or is_its_job)


def _is_written_early(entry: Path, folder: RunFolder) -> bool:
    """Whether it is a file that a run writes before its first checkpoint, or the folder of checkpoints without one."""
    if entry.is_symlink():
        return False
    if entry == folder.checkpoints and entry.is_dir():
        return all(map(_is_leftover, entry.iterdir()))
    written = {folder.config, folder.metrics, folder.curves, folder.train_batch, folder.val_predictions, folder.report}
    return entry in written and entry.is_file()


def _is_leftover(entry: Path) -> bool:
    """Whether it is a file that was not written to its end."""
    return entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file() and not entry.is_symlink()


def _clear(folder: RunFolder) -> None:
    """Deletes what _is_abandoned has found, but for what it is found by, which the new run replaces."""
    for entry in folder.path.iterdir():
        if entry == folder.checkpoints:
            remove_leftovers(entry)
        elif entry not in (folder.config, folder.report):
            entry.unlink()


def _make_numbered_folder(experiment_name: str) -> RunFolder:
    """The first of name, name-2, name-3, ... that does not exist yet."""
    with writing(DEFAULT_PARENT):
        DEFAULT_PARENT.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = DEFAULT_PARENT / (experiment_name if number == 1 else f"{experiment_name}-{number}")
        with writing(folder):
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
                continue
        return RunFolder(folder)
