"""The processes of `infer`: this one alone, or several, one a device, which Lightning starts or finds started."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TypeVar

import torch

from retinaface_cli.commands.processes import adopt_processes, started_processes
from retinaface_cli.detection.detector import resolve_device
from retinaface_cli.detection.prediction import Process
from retinaface_cli.errors import RetinaFaceError, SettingsError
from retinaface_cli.settings.detection import InferSettings

T = TypeVar("T")


def launch(settings: InferSettings, function: Callable[[Process], T]) -> T:
    """What the function gives in this process of the run; the others call it too, in a command of their own.

    Lightning takes two seconds and 270 MB with what it imports, and is imported only where it has something to do.

    Raises:
        SettingsError: there are no such devices.
        RetinaFaceError: another process is lost before it has begun.
    """
    started = started_processes()
    devices, num_nodes = adopt_processes(settings.devices, settings.num_nodes, started=started, unset=1)
    if devices == 1 and num_nodes == 1:
        return function(Process(_only_device(settings.accelerator)))
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException
    from torch.distributed import DistError

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=settings.accelerator, devices=devices, num_nodes=num_nodes, strategy="ddp")
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        advice = "--accelerator cpu runs on the processor" if settings.accelerator != "cpu" else "name fewer devices"
        message = f"accelerator {settings.accelerator}, devices {settings.devices}: {str(error).rstrip('.!')}; {advice}"
        raise SettingsError(message) from None

    def call(fabric: Fabric) -> T:
        """The function in this process, as Lightning has set it up."""
        children = getattr(fabric.strategy.launcher, "procs", ())
        return function(Process(fabric.device, fabric.global_rank, fabric.world_size, fabric.broadcast, children))

    try:
        result: T = fabric.launch(call)
        return result
    except DistError:
        raise RetinaFaceError("another process of the run could not begin; see its message") from None
    finally:
        fabric.strategy.teardown()


def is_first_process(settings: InferSettings) -> bool:
    """Whether torchrun, SLURM or Lightning have not made this process another one than the first of its run."""
    started = started_processes()
    if started is not None:
        return started.rank == 0
    is_alone = (settings.devices, settings.num_nodes) == (1, 1)
    return is_alone or all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))  # Lightning's


def _only_device(accelerator: str) -> torch.device:
    """The device of a run in one process.

    Raises:
        SettingsError: there is no such device.
    """
    device = resolve_device("auto" if accelerator == "gpu" else accelerator)
    if accelerator == "gpu" and device.type == "cpu":
        raise SettingsError("accelerator gpu: this machine has no GPU; --accelerator cpu runs on the processor")
    return device
