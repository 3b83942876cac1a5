"""report.json: how a run came about, and what came of it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import torch

from retinaface_cli.files.atomic import write_text_atomic
from retinaface_cli.process import num_cores
from retinaface_cli.version import __version__

RunStatus = Literal["running", "finished", "stopped early", "interrupted", "failed"]

_LIBRARIES = ("torchvision", "pytorch-lightning", "albumentations", "opencv-python-headless", "numpy")


def write_report(path: Path, *, status: RunStatus, facts: dict[str, Any]) -> None:
    """Writes the report, whole or not at all.

    Args:
        path: of the file.
        status: how far the run came.
        facts: JSON values about it.
    """
    write_text_atomic(path, json.dumps({"status": status, **facts}, indent=2) + "\n")


def describe_circumstances() -> dict[str, Any]:
    """Time, versions, hardware, SLURM job and, where the working folder lies in a git repository, its state."""
    return {
        "machine": platform.node(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {
            "retinaface-cli": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: _version(name) for name in _LIBRARIES},
        },
        "hardware": describe_hardware(),
        "git": describe_git(Path.cwd()),
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
    }


def describe_hardware() -> dict[str, Any]:
    """Processor, number of cores that may be used, and GPUs."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"system": platform.platform(), "processor": _processor_name(), "cores": num_cores(), "gpus": gpus}


def describe_git(folder: Path) -> dict[str, Any] | None:
    """Commit and cleanliness of the repository that the folder lies in; None where there is none."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "has_uncommitted_changes": bool(changed)}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True, timeout=10
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    """The name that Linux knows, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
