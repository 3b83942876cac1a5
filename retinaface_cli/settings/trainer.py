"""How a training runs: devices, precision, length, what is kept of it, and where its figures go."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from retinaface_cli.settings.base import Option, Settings
from retinaface_cli.settings.data import LocalPath
from retinaface_cli.settings.precision import Precision


def _read_limit(value: Any) -> Any:
    """Reads `50` as a number of batches and `0.1` as a part, as the command line gives them."""
    if not isinstance(value, str):
        return value
    return int(value) if value.isdecimal() else float(value)


def _read_devices(value: Any) -> Any:
    """Reads `2` and `0,1` as the command line gives them."""
    if not isinstance(value, str) or value == "auto":
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not parts or not all(part.lstrip("-").isdecimal() for part in parts):
        raise ValueError("expected auto, a number, or indices such as 0,1")
    return tuple(int(part) for part in parts) if "," in value else int(value)


Limit = Annotated[Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, le=1)], BeforeValidator(_read_limit)]
"""A number of batches, or a part of all."""

Devices = Annotated[Literal["auto"] | Annotated[int, Field(ge=-1)] | tuple[int, ...], BeforeValidator(_read_devices)]
"""A number of devices, or their indices."""

_RUN_PANEL = "Devices and length"


class TrainerSettings(Settings):
    """Devices, precision and length of the training."""

    max_epochs: Annotated[int, Option()] = Field(default=100, gt=0)
    """Epochs to train."""

    accelerator: Annotated[Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"], Option(panel=_RUN_PANEL)] = "auto"
    """Kind of device."""

    devices: Annotated[Devices, Option(short="-g", legacy=("--num-gpus",), metavar="auto|N|0,1")] = "auto"
    """Number of devices on each machine, or a list of their indices; auto or -1: all that are there."""

    num_nodes: Annotated[int, Option(panel=_RUN_PANEL)] = Field(default=1, gt=0)
    """Number of machines; started by torchrun or SLURM on each of them."""

    strategy: Annotated[Literal["auto", "ddp"], Option(panel=_RUN_PANEL)] = "auto"
    """How several devices work together; auto: ddp as soon as there are two."""

    precision: Annotated[Precision, Option(panel=_RUN_PANEL, flags={"--fp16": "16"})] = "32"
    """Number format of the forward and backward pass; loss, matching and boxes stay in 32 bit."""

    sync_batchnorm: bool = True
    """Whether BatchNorm takes its statistics over all devices; without effect on a single one."""

    freeze_batch_norm: bool = False
    """Whether BatchNorm keeps the statistics that it starts with, while its scale and shift learn; for fine-tuning on
    few images, which have other statistics than those that the start weights saw."""

    gradient_clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient, longer ones are scaled down; empty: no limit."""

    accumulate_grad_batches: int = Field(default=1, gt=0)
    """Batches whose gradients are added up before each optimizer step."""

    channels_last: bool = True
    """Whether images and weights lie in memory with the channels last, which is faster on most devices."""

    compile: bool = False
    """Whether the network is compiled with torch.compile; the first step then takes minutes."""

    benchmark: bool = True
    """Whether cuDNN tries out its kernels and keeps the fastest; without effect on a CPU."""

    deterministic: bool = False
    """Whether only operations are used that give the same result each time; slower on a GPU, always so on a CPU."""

    val_every_n_epochs: int = Field(default=1, gt=0)
    """Epochs from one validation to the next."""

    log_every_n_steps: int = Field(default=10, gt=0)
    """Steps from one line of figures to the next in the loggers."""

    limit_train_batches: Annotated[Limit, Option(panel=_RUN_PANEL, metavar="N|PART")] = 1.0
    """Training batches an epoch: a number of them (50), or a part of all (0.1); 1.0: all."""

    limit_val_batches: Annotated[Limit, Option(panel=_RUN_PANEL, metavar="N|PART")] = 1.0
    """Validation batches: a number of them (50), or a part of all (0.1); 1.0: all, 0: no validation."""

    fast_dev_run: Annotated[bool | Annotated[int, Field(ge=0)], Option(panel=_RUN_PANEL)] = False
    """Whether to run one batch of everything (or this many) and write nothing: to see that it all fits together."""

    num_sanity_val_steps: int = Field(default=1, ge=0)
    """Validation batches tried before the first step, so that a mistake there shows at once."""


class ValidationSettings(Settings):
    """How faces are read off the network when it is measured on the validation images."""

    score_threshold: float = Field(default=0.02, ge=0, le=1)
    """Faces must score above this to enter the average precision."""

    nms_iou_threshold: float = Field(default=0.4, gt=0, le=1)
    """Overlap (IoU) above which the weaker of two boxes is dropped."""

    wider_ground_truth: LocalPath | None = None
    """Folder `ground_truth` of WIDER FACE's evaluation tools (wider_easy_val.mat and others), for AP on easy, medium
    and hard faces too; empty: only on all faces of the labels."""


class CheckpointSettings(Settings):
    """What is kept of the training, in the folder `checkpoints` of the run."""

    monitor: Literal["val/ap50", "val/wider_easy", "val/wider_medium", "val/wider_hard"] = "val/ap50"
    """Figure that says which epoch was best; those of WIDER FACE need validation.wider_ground_truth."""

    every_n_steps: int | None = Field(default=None, gt=0)
    """Steps from one writing of last.ckpt to the next within an epoch; empty: only at the end of each epoch."""

    keep_every_n_epochs: int | None = Field(default=None, gt=0)
    """Epochs from one checkpoint that is kept for good (epoch-0010.ckpt) to the next; empty: only best and last."""


class EarlyStoppingSettings(Settings):
    """Stop when the validation no longer gets better."""

    patience: int | None = Field(default=None, gt=0)
    """Validations without a better figure (checkpoint.monitor) after which training stops; empty: never."""

    min_delta: float = Field(default=0.0, ge=0)
    """By how much the figure must rise to count as better."""


class TensorBoardSettings(Settings):
    """TensorBoard; its files go to the folder `tensorboard` of the run."""

    name: str = "tensorboard"
    """Name of the folder."""


class WandbSettings(Settings):
    """Weights & Biases; the key comes from WANDB_API_KEY or `wandb login`."""

    project: str = "retinaface"
    """Project that the run belongs to."""

    entity: str | None = None
    """User or team; empty: your own."""

    offline: bool = False
    """Whether to write to the run's folder only, for `wandb sync` later."""

    tags: tuple[str, ...] = ()
    """Tags of the run."""


class NeptuneSettings(Settings):
    """Neptune; the token comes from NEPTUNE_API_TOKEN."""

    project: str | None = None
    """Project as workspace/name; empty: from NEPTUNE_PROJECT."""

    offline: bool = False
    """Whether to write to the run's folder only, for `neptune sync` later."""

    tags: tuple[str, ...] = ()
    """Tags of the run."""


class MlflowSettings(Settings):
    """MLflow."""

    tracking_uri: str | None = None
    """Address of the server or database; empty: from MLFLOW_TRACKING_URI, else mlflow.db in the run's folder."""

    experiment: str = "retinaface"
    """MLflow experiment that the run belongs to."""


class CometSettings(Settings):
    """Comet; the key comes from COMET_API_KEY."""

    project: str = "retinaface"
    """Project that the run belongs to."""

    workspace: str | None = None
    """Workspace; empty: your own."""

    offline: bool = False
    """Whether to write to the run's folder only, for `comet upload` later."""


class LoggerSettings(Settings):
    """Where the figures go; several at once, each switched on by `true` or by a group of its settings."""

    csv: bool = True
    """metrics.csv in the run's folder, from which curves.png is drawn."""

    tensorboard: TensorBoardSettings | None = None
    """TensorBoard: `true`, or its settings (name)."""

    wandb: WandbSettings | None = None
    """Weights & Biases: `true`, or its settings (project, entity, offline, tags)."""

    neptune: NeptuneSettings | None = None
    """Neptune: `true`, or its settings (project, offline, tags)."""

    mlflow: MlflowSettings | None = None
    """MLflow: `true`, or its settings (tracking_uri, experiment)."""

    comet: CometSettings | None = None
    """Comet: `true`, or its settings (project, workspace, offline)."""

    @field_validator("tensorboard", "wandb", "neptune", "mlflow", "comet", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        """Lets `true` stand for the defaults and `false` for nothing."""
        if isinstance(value, bool):
            return {} if value else None
        return value


class RunSettings(Settings):
    """What the run is called and where it goes."""

    experiment_name: Annotated[str, Option()] = Field(default="retinaface", min_length=1, pattern=r"^[^/\\]+$")
    """Name of the run; its folder is called so."""

    output: Annotated[LocalPath | None, Option(short="-o")] = None
    """Folder of the run; empty: runs/train/<experiment_name>, with a number behind where that exists."""

    seed: Annotated[int, Option(panel=_RUN_PANEL)] = Field(default=1984, ge=0, lt=2**32)
    """Start of all random numbers: the same seed gives the same order, crops and start weights."""
