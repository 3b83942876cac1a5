from __future__ import annotations

import os
from pathlib import Path

import pytest

from retinaface_cli.errors import SettingsError
from retinaface_cli.training.run_folder import (
    RunFolder,
    find_checkpoint,
    find_requeued_checkpoint,
    folder_of_checkpoint,
    is_first_process,
)


def _checkpoint(folder: Path, *, age: int = 0) -> Path:
    path = RunFolder(folder).last
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs lie in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return Path("runs/train")


def test_last_is_the_newest_of_the_experiment(runs: Path) -> None:
    older = _checkpoint(runs / "faces", age=10)
    newer = _checkpoint(runs / "faces-2", age=5)
    other = _checkpoint(runs / "faces-small", age=0)
    assert find_checkpoint("last", None, "faces") == newer
    assert find_checkpoint("last", runs / "faces", "faces") == older
    assert find_checkpoint("last", None, None) == other


def test_a_checkpoint_is_found_by_its_path_or_by_the_folder_of_its_run(tmp_path: Path) -> None:
    path = _checkpoint(tmp_path / "faces")
    assert find_checkpoint(str(path), None, None) == path
    assert find_checkpoint(str(tmp_path / "faces"), None, None) == path


@pytest.mark.usefixtures("runs")
def test_nothing_to_resume_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"--resume last: no last\.ckpt in runs/train/faces/checkpoints"):
        find_checkpoint("last", None, "faces")
    with pytest.raises(SettingsError, match=r"--resume x: no such checkpoint: x"):
        find_checkpoint("x", None, None)


def test_a_job_that_slurm_starts_again_finds_its_own_run(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert find_requeued_checkpoint(None, "faces") is None
    older, mine = _checkpoint(runs / "faces"), _checkpoint(runs / "faces-2", age=10)
    RunFolder(older.parent.parent).report.write_text('{"slurm_job_id": "7"}')
    RunFolder(mine.parent.parent).report.write_text('{"slurm_job_id": "8"}')
    assert find_requeued_checkpoint(None, "faces") == mine
    assert find_requeued_checkpoint(runs / "faces-2", "x") == mine
    assert find_requeued_checkpoint(runs / "faces", "x") is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    assert find_requeued_checkpoint(None, "faces") is None


def test_the_run_of_a_checkpoint_is_known_by_its_place(tmp_path: Path) -> None:
    path = _checkpoint(tmp_path / "faces")
    assert folder_of_checkpoint(path) == RunFolder(tmp_path / "faces")
    assert folder_of_checkpoint(tmp_path / "elsewhere" / "last.ckpt") is None


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # torchrun, first process of the second machine
        ({"LOCAL_RANK": "1"}, False),  # started by Lightning
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
        ({"NODE_RANK": "1"}, False),
    ],
)
def test_one_of_all_processes_writes(
    environment: dict[str, str], is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    assert is_first_process() is is_first
