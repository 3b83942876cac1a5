"""Whether the devices that a training asks for are there."""

from __future__ import annotations

import torch

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.trainer import TrainerSettings


def uses_cpu(settings: TrainerSettings) -> bool:
    """Whether the training runs on the CPU."""
    if settings.accelerator == "auto":
        return not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return settings.accelerator == "cpu"


def check_devices(settings: TrainerSettings) -> None:
    """Checks devices and number format, before anything is read.

    Raises:
        SettingsError: a device is not there, or does not know the number format.
    """
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if settings.accelerator in ("gpu", "cuda") and not has_gpu:
        raise SettingsError(
            f"trainer.accelerator: got {settings.accelerator}, but there is no GPU here that PyTorch can use; "
            "try --accelerator cpu --devices 1 --precision 32"
        )
    if settings.precision == "16-mixed" and uses_cpu(settings):
        raise SettingsError("trainer.precision: 16-mixed needs a GPU; on the CPU take 32 or bf16")
    if uses_cpu(settings):
        return
    num_gpus = torch.cuda.device_count() or 1
    wanted = settings.devices
    largest = max(wanted) + 1 if isinstance(wanted, tuple) else wanted if isinstance(wanted, int) else 0
    if largest > num_gpus:
        raise SettingsError(f"trainer.devices: got {wanted}, but there are {num_gpus} GPUs here; try --devices auto")


def count_processes(settings: TrainerSettings) -> int:
    """Number of processes over all machines; each works on one device."""
    devices = lightning_devices(settings)
    if isinstance(devices, list):
        here = len(devices)
    else:
        here = devices if isinstance(devices, int) and devices > 0 else max(1, torch.cuda.device_count())
    return here * settings.num_nodes


def lightning_devices(settings: TrainerSettings) -> int | str | list[int]:
    """The devices as Lightning wants them; on the CPU a device is a process."""
    if isinstance(settings.devices, tuple):
        return list(settings.devices)
    if uses_cpu(settings) and settings.devices in ("auto", -1):
        return 1
    return settings.devices
