from __future__ import annotations

import os

import pytest

from retinaface_cli.commands.infer.launch import is_first_process
from retinaface_cli.commands.processes import StartedProcesses, adopt_processes, started_processes
from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.detection import InferSettings

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "0"}


@pytest.mark.parametrize(
    ("environment", "counts"),
    [
        ({}, None),
        ({"WORLD_SIZE": "4"}, None),
        (TORCHRUN, (2, 2)),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (4, 2)),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, None),
    ],
)
def test_the_counts_are_those_that_torchrun_or_slurm_has_started(
    environment: dict[str, str], counts: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    started = started_processes()
    assert (None if started is None else (started.devices, started.num_nodes)) == counts


@pytest.mark.parametrize(
    ("environment", "devices", "is_first"),
    [
        ({}, 1, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, 1, True),  # of a job around it, which is none of its business
        ({"RANK": "1"}, 2, True),
        ({"LOCAL_RANK": "1"}, 2, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, 2, False),
        ({}, 2, True),
        ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0"}, 1, False),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0"}, 1, True),
        ({"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "3"}, 1, False),
    ],
)
def test_only_the_first_process_of_a_run_says_what_all_would_say(
    environment: dict[str, str], devices: int, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment)
    assert is_first_process(InferSettings(devices=devices)) == is_first


def test_machines_with_different_numbers_of_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"SLURM_NTASKS": "3", "SLURM_NNODES": "2"})
    with pytest.raises(SettingsError, match="3 processes cannot be shared out evenly"):
        started_processes()


@pytest.mark.parametrize(
    ("devices", "num_nodes", "adopted"),
    [("auto", 1, (2, 2)), (-1, 1, (2, 2)), (2, 2, (2, 2)), ((0, 3), 1, ((0, 3), 2))],
)
def test_what_is_left_open_is_taken_from_what_was_started(
    devices: object, num_nodes: int, adopted: tuple[object, int]
) -> None:
    assert adopt_processes(devices, num_nodes, started=StartedProcesses(2, 2, "torchrun", 0)) == adopted
    assert adopt_processes(devices, num_nodes, started=None) == (devices, num_nodes)


@pytest.mark.parametrize(("devices", "num_nodes"), [(1, 1), (4, 2), ("auto", 3), ((0, 1, 2), 2)])
def test_a_contradiction_is_refused(devices: object, num_nodes: int) -> None:
    with pytest.raises(SettingsError, match=r"contradicts 2 processes on each of 2 machines \(torchrun\)"):
        adopt_processes(devices, num_nodes, started=StartedProcesses(2, 2, "torchrun", 0))
