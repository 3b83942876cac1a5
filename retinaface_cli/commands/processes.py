"""How many processes a run has, as far as torchrun or SLURM has started them already."""

from __future__ import annotations

import os
from typing import NamedTuple, TypeVar

from retinaface_cli.errors import SettingsError

Devices = TypeVar("Devices")


class StartedProcesses(NamedTuple):
    """Processes on each machine, machines, the variables that say so, and the number of this process among all."""

    devices: int
    num_nodes: int
    source: str
    rank: int


def started_processes() -> StartedProcesses | None:
    """The processes that torchrun or SLURM has started; None where neither has.

    Raises:
        SettingsError: the machines have different numbers of processes.
    """
    variables = os.environ
    if "TORCHELASTIC_RUN_ID" in variables:
        total, devices = int(variables["WORLD_SIZE"]), int(variables["LOCAL_WORLD_SIZE"])
        return _count(total, total // devices, "torchrun: WORLD_SIZE / LOCAL_WORLD_SIZE", int(variables["RANK"]))
    if "SLURM_NTASKS" in variables and variables.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        total, num_nodes = int(variables["SLURM_NTASKS"]), int(variables.get("SLURM_NNODES", "1"))
        return _count(total, num_nodes, "SLURM_NTASKS / SLURM_NNODES", int(variables.get("SLURM_PROCID", "0")))
    return None


def _count(total: int, num_nodes: int, source: str, rank: int) -> StartedProcesses:
    if num_nodes < 1 or total % num_nodes:
        raise SettingsError(f"{source}: {total} processes cannot be shared out evenly; start as many on each machine")
    return StartedProcesses(total // num_nodes, num_nodes, source, rank)


def adopt_processes(
    devices: Devices, num_nodes: int, *, started: StartedProcesses | None, unset: object = "auto"
) -> tuple[Devices | int, int]:
    """Devices and machines of a run: as started, or as the settings say where nothing was.

    Args:
        devices: of the settings; a number, indices, or `unset`.
        num_nodes: of the settings; 1 is taken for unset.
        started: what torchrun or SLURM has started.
        unset: the value of devices that leaves the number open.

    Raises:
        SettingsError: the settings contradict what was started.
    """
    if started is None:
        return devices, num_nodes
    wanted = len(devices) if isinstance(devices, tuple) else devices
    if wanted not in (unset, -1, started.devices) or num_nodes not in (1, started.num_nodes):
        raise SettingsError(
            f"--devices {wanted} --num-nodes {num_nodes}: contradicts {started.devices} processes on each of "
            f"{started.num_nodes} machines ({started.source}); leave both options out"
        )
    return devices if isinstance(devices, tuple) else started.devices, started.num_nodes
