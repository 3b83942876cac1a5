"""How the weights are learned: optimizer, learning rate over time, moving average of the weights."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from retinaface_cli.settings.base import Settings, by_name

Decay = Annotated[float, Field(ge=0, lt=1)]


class _AnyOptimizerSettings(Settings):
    """What all optimizers have."""

    name: str
    """Kind of optimizer."""

    lr: float = Field(default=1e-3, gt=0)
    """Highest learning rate, for a global batch of reference_batch_size images."""

    reference_batch_size: int | None = Field(default=None, gt=0)
    """Images a step that lr is meant for: lr grows in proportion to the global batch (images a device times
    devices times accumulated batches); empty: lr is taken as it is."""

    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay."""

    decay_norm_and_bias: bool = True
    """Whether weight decay also holds for biases and the weights of normalisation layers."""


class SgdSettings(_AnyOptimizerSettings):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    """Kind of optimizer."""

    momentum: Decay = 0.9
    """Momentum."""

    nesterov: bool = False
    """Whether the momentum is Nesterov's."""


class AdamWSettings(_AnyOptimizerSettings):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    changed_defaults: ClassVar[dict[str, Any]] = {"weight_decay": 0.05}

    name: Literal["adamw"] = "adamw"
    """Kind of optimizer."""

    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the running means of gradient and squared gradient."""


OptimizerSettings = Annotated[SgdSettings | AdamWSettings, Field(discriminator="name"), by_name("sgd")]


class _AnySchedulerSettings(Settings):
    """What all schedules have."""

    name: str
    """Kind of schedule."""

    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs, also parts of one, over which the learning rate grows linearly from warmup_start_factor to its full
    value; it multiplies whatever the schedule says."""

    warmup_start_factor: float = Field(default=1e-3, gt=0, le=1)
    """Factor of the learning rate at the first step of the warm-up."""


class ConstantSettings(_AnySchedulerSettings):
    """The learning rate stays."""

    name: Literal["constant"] = "constant"
    """Kind of schedule."""


class MultiStepSettings(_AnySchedulerSettings):
    """The learning rate is multiplied by gamma at each milestone."""

    name: Literal["multi_step"] = "multi_step"
    """Kind of schedule."""

    milestones: tuple[float, ...] = (190, 220)
    """Epochs at whose start the learning rate drops."""

    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor of each drop."""

    @field_validator("milestones")
    @classmethod
    def _check_milestones(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(milestones) or any(milestone <= 0 for milestone in milestones):
            raise ValueError("milestones must be epochs above 0 in rising order")
        return milestones


class CosineSettings(_AnySchedulerSettings):
    """Half a cosine from the full learning rate at the start to final_factor of it at the last step."""

    name: Literal["cosine"] = "cosine"
    """Kind of schedule."""

    final_factor: float = Field(default=0.01, ge=0, le=1)
    """Factor of the learning rate at the end."""


class WarmRestartsSettings(_AnySchedulerSettings):
    """Half cosines, one after another (SGDR, Loshchilov & Hutter, 2017)."""

    name: Literal["warm_restarts"] = "warm_restarts"
    """Kind of schedule."""

    first_cycle_epochs: float = Field(default=10, gt=0)
    """Length of the first cycle in epochs."""

    cycle_growth: int = Field(default=2, ge=1)
    """Each cycle is this many times as long as the one before."""

    final_factor: float = Field(default=0.0, ge=0, le=1)
    """Factor of the learning rate at the end of each cycle."""


class OneCycleSettings(_AnySchedulerSettings):
    """Up and down once over the whole training, both along half a cosine (Smith & Topin, 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    """Kind of schedule."""

    rising_part: float = Field(default=0.3, gt=0, lt=1)
    """Part of the training in which the learning rate rises."""

    start_factor: float = Field(default=0.04, gt=0, le=1)
    """Factor of the learning rate at the start."""

    final_factor: float = Field(default=4e-6, ge=0, le=1)
    """Factor of the learning rate at the end."""


SchedulerSettings = Annotated[
    ConstantSettings | MultiStepSettings | CosineSettings | WarmRestartsSettings | OneCycleSettings,
    Field(discriminator="name"),
    by_name("cosine"),
]


class EmaSettings(Settings):
    """Exponential moving average of the weights, used in validation and in what is saved for detection."""

    enabled: bool = True
    """Whether to keep the average."""

    decay: Decay = 0.9998
    """Part of the average that a step keeps, once warmed up."""

    warmup_steps: int = Field(default=10, gt=0)
    """At step t the decay is at most (1 + t) / (warmup_steps + t), so that the first weights are soon forgotten."""
