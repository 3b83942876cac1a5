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


def test_last_is_the_newest_of_the_experiment(tmp_path: Path) -> None:
    older = _checkpoint(tmp_path / "faces", age=10)
    newer = _checkpoint(tmp_path / "faces-2", age=5)
    other = _checkpoint(tmp_path / "faces-small", age=0)
    assert find_checkpoint("last", None, "faces", parent=tmp_path) == newer
    assert find_checkpoint("last", tmp_path / "faces", "faces", parent=tmp_path) == older
    assert find_checkpoint("last", None, None, parent=tmp_path) == other


def test_a_checkpoint_is_found_by_its_path_or_by_the_folder_of_its_run(tmp_path: Path) -> None:
    path = _checkpoint(tmp_path / "faces")
    assert find_checkpoint(str(path), None, None) == path
    assert find_checkpoint(str(tmp_path / "faces"), None, None) == path


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--resume last: no last\.ckpt in .*faces/checkpoints"):
        find_checkpoint("last", None, "faces", parent=tmp_path / "none")
    with pytest.raises(SettingsError, match=r"--resume x: no such checkpoint: x"):
        find_checkpoint("x", None, None)


def test_a_job_that_slurm_starts_again_finds_its_own_run(tmp_path: Path) -> None:
    older, mine = _checkpoint(tmp_path / "faces"), _checkpoint(tmp_path / "faces-2", age=10)
    RunFolder(older.parent.parent).report.write_text('{"slurm_job_id": "7"}')
    RunFolder(mine.parent.parent).report.write_text('{"slurm_job_id": "8"}')
    again = {"SLURM_RESTART_COUNT": "1", "SLURM_JOB_ID": "8"}
    assert find_requeued_checkpoint(None, "faces", parent=tmp_path, environment=again) == mine
    assert find_requeued_checkpoint(tmp_path / "faces-2", "x", parent=tmp_path, environment=again) == mine
    assert find_requeued_checkpoint(tmp_path / "faces", "x", parent=tmp_path, environment=again) is None
    first = {"SLURM_RESTART_COUNT": "0", "SLURM_JOB_ID": "8"}
    assert find_requeued_checkpoint(None, "faces", parent=tmp_path, environment=first) is None
    assert find_requeued_checkpoint(None, "faces", parent=tmp_path / "none", environment=again) is None


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
def test_one_of_all_processes_writes(environment: dict[str, str], is_first: bool) -> None:
    assert is_first_process(environment) is is_first
