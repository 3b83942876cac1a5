"""The folder of a training run: where everything lies, and how the one to go on with is found."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.errors import SettingsError

DEFAULT_PARENT = Path("runs/train")
LAST = "last.ckpt"
BEST = "best.ckpt"


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run.

    Attributes:
        path: the folder itself.
        is_taken_over: whether it held a run that had ended before its first checkpoint.
    """

    path: Path
    is_taken_over: bool = False

    @property
    def config(self) -> Path:
        """The resolved settings, with comments."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """All figures, a line a logged step."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The figures as curves."""
        return self.path / "curves.png"

    @property
    def train_batch(self) -> Path:
        """What the network saw in its first batch."""
        return self.path / "train_batch.jpg"

    @property
    def val_predictions(self) -> Path:
        """What the network finds in some validation images."""
        return self.path / "val_predictions.jpg"

    @property
    def report(self) -> Path:
        """How the run came about and what came of it."""
        return self.path / "report.json"

    @property
    def best_weights(self) -> Path:
        """The weights of the best epoch, ready for `infer -w`."""
        return self.path / "best.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """The newest checkpoint, from which training can go on."""
        return self.checkpoints / LAST

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch."""
        return self.checkpoints / BEST

    @property
    def logger_ids(self) -> Path:
        """By which ids the run is known to the services that log it."""
        return self.path / "logger_ids.json"


def find_checkpoint(resume: str, output: Path | None, experiment_name: str | None) -> Path:
    """The checkpoint that --resume names.

    Args:
        resume: a checkpoint, the folder of a run, or `last`: the newest last.ckpt of this experiment.
        output: folder of the run, where one is named.
        experiment_name: name of the experiment; None: of any.

    Raises:
        SettingsError: no such checkpoint.
    """
    if resume != "last":
        path = Path(resume)
        found = RunFolder(path).last if path.is_dir() else path
        if not found.is_file():
            raise SettingsError(f"--resume {resume}: no such checkpoint: {found}")
        return found
    if output is not None:
        candidates = [RunFolder(output).last]
    else:
        folders = DEFAULT_PARENT.glob("*")
        candidates = [RunFolder(folder).last for folder in folders if _belongs(folder.name, experiment_name)]
    existing = [path for path in candidates if path.is_file()]
    if not existing:
        where = output or DEFAULT_PARENT / (experiment_name or "*")
        raise SettingsError(
            f"--resume last: no {LAST} in {where}/checkpoints; name a checkpoint, or leave --resume out"
        )
    return max(existing, key=lambda path: path.stat().st_mtime_ns)


def find_requeued_checkpoint(output: Path | None, experiment_name: str) -> Path | None:
    """The last checkpoint of this SLURM job's earlier life, where SLURM has started the job again; else None."""
    if os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        return None
    folders = [output] if output is not None else sorted(DEFAULT_PARENT.glob("*"))
    for folder in map(RunFolder, folders):
        named = output is not None or _belongs(folder.path.name, experiment_name)
        if named and folder.last.is_file() and _slurm_job(folder) == os.environ.get("SLURM_JOB_ID"):
            return folder.last
    return None


def folder_of_checkpoint(checkpoint: Path) -> RunFolder | None:
    """The run that a checkpoint lies in; None where it lies elsewhere."""
    folder = RunFolder(checkpoint.absolute().parent.parent)
    return RunFolder(checkpoint.parent.parent) if folder.checkpoints == checkpoint.absolute().parent else None


def is_first_process() -> bool:
    """Whether this is the process that writes files, of all those that torchrun, SLURM or Lightning have started."""
    variables = os.environ
    if "RANK" in variables:
        return variables["RANK"] == "0"
    if "LOCAL_RANK" in variables:
        return variables["LOCAL_RANK"] == "0" and variables.get("NODE_RANK", variables.get("GROUP_RANK", "0")) == "0"
    return variables.get("SLURM_PROCID", variables.get("NODE_RANK", "0")) == "0"


def _slurm_job(folder: RunFolder) -> str | None:
    """The SLURM job that a run belongs to, from its report."""
    if not folder.report.is_file():
        return None
    job: str | None = json.loads(folder.report.read_text(encoding="utf-8")).get("slurm_job_id")
    return job


def _belongs(folder_name: str, experiment_name: str | None) -> bool:
    """Whether a folder is `name` or `name-2`, `name-3`, ..."""
    if experiment_name is None or folder_name == experiment_name:
        return True
    number = folder_name.removeprefix(f"{experiment_name}-")
    return folder_name.startswith(f"{experiment_name}-") and number.isdecimal()
