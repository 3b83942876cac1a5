"""Optimizers and learning rates by the settings that name them, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from retinaface_cli.settings.optimization import (
    AdamWSettings,
    ConstantSettings,
    CosineSettings,
    EmaSettings,
    MultiStepSettings,
    OptimizerSettings,
    SchedulerSettings,
    WarmRestartsSettings,
)


def scale_learning_rate(settings: OptimizerSettings, *, global_batch_size: int) -> float:
    """The highest learning rate of a run.

    Args:
        settings: with the learning rate and the batch that it is meant for.
        global_batch_size: images an optimizer step: a device's batch times devices times accumulated batches.
    """
    if settings.reference_batch_size is None:
        return settings.lr
    return settings.lr * global_batch_size / settings.reference_batch_size


def build_optimizer(network: nn.Module, settings: OptimizerSettings, *, lr: float) -> Optimizer:
    """The optimizer of a network's trainable parameters, with a highest learning rate of lr."""
    groups = _parameter_groups(network, settings)
    if isinstance(settings, AdamWSettings):
        return AdamW(groups, lr=lr, betas=settings.betas)
    return SGD(groups, lr=lr, momentum=settings.momentum, nesterov=settings.nesterov)


def _parameter_groups(network: nn.Module, settings: OptimizerSettings) -> list[dict[str, object]]:
    """One group with weight decay, and one without for what the settings spare; biases and norms have one dimension."""
    decayed: list[Tensor] = []
    spared: list[Tensor] = []
    for parameter in network.parameters():
        if parameter.requires_grad:
            is_spared = parameter.ndim <= 1 and not settings.decay_norm_and_bias
            (spared if is_spared else decayed).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def adopt_settings(scheduler: LambdaLR, network: nn.Module, settings: OptimizerSettings, *, lr: float) -> None:
    """Puts settings in force in a schedule and its optimizer that were restored from a checkpoint, at their step."""
    fresh = build_optimizer(network, settings, lr=lr).param_groups
    scheduler.base_lrs = [lr] * len(fresh)
    for group, wanted, factor in zip(scheduler.optimizer.param_groups, fresh, scheduler.lr_lambdas, strict=True):
        group.update({name: value for name, value in wanted.items() if name != "params"})
        group.update(initial_lr=lr, lr=lr * factor(scheduler.last_epoch))


def build_scheduler(
    optimizer: Optimizer, settings: SchedulerSettings, *, steps_per_epoch: float, max_epochs: int
) -> LambdaLR:
    """The schedule of an optimizer, to be stepped once an optimizer step."""
    return LambdaLR(
        optimizer, lambda step: learning_rate_factor(settings, step / steps_per_epoch, max_epochs=max_epochs)
    )


def learning_rate_factor(settings: SchedulerSettings, epoch: float, *, max_epochs: int) -> float:
    """What the highest learning rate is multiplied by.

    Args:
        settings: the schedule.
        epoch: epochs done, with the done part of the running one.
        max_epochs: length of the training.
    """
    start = settings.warmup_start_factor
    is_warm = epoch >= settings.warmup_epochs
    warmup = 1.0 if is_warm else start + (1 - start) * epoch / settings.warmup_epochs
    return warmup * _schedule_factor(settings, epoch, max_epochs)


def _schedule_factor(settings: SchedulerSettings, epoch: float, max_epochs: int) -> float:
    """The factor without warm-up."""
    if isinstance(settings, ConstantSettings):
        return 1.0
    if isinstance(settings, MultiStepSettings):
        return settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
    if isinstance(settings, CosineSettings):
        return _half_cosine(1.0, settings.final_factor, epoch / max_epochs)
    if isinstance(settings, WarmRestartsSettings):
        return _half_cosine(1.0, settings.final_factor, _done_of_cycle(settings, epoch))
    done, rising = epoch / max_epochs, settings.rising_part
    if done < rising:
        return _half_cosine(settings.start_factor, 1.0, done / rising)
    return _half_cosine(1.0, settings.final_factor, (done - rising) / (1 - rising))


def _done_of_cycle(settings: WarmRestartsSettings, epoch: float) -> float:
    """The done part of the running cycle."""
    start, length = 0.0, settings.first_cycle_epochs
    while epoch >= start + length:
        start, length = start + length, length * settings.cycle_growth
    return (epoch - start) / length


def _half_cosine(first: float, last: float, done: float) -> float:
    """From first to last along half a cosine; stays at the last."""
    return last + (first - last) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, settings: EmaSettings, *, step: int) -> None:
    """Moves the weights of one network a little towards those of another, after every step.

    The running statistics of BatchNorm are averaged with the weights; counters are copied. Lightning's own average
    knows no warm-up, and swaps the weights for each validation and checkpoint.

    Args:
        average: its weights are changed.
        network: the one in training.
        settings: how fast.
        step: number of optimizer steps done, this one included.
    """
    wanted = network.state_dict()
    moved: list[Tensor] = []
    targets: list[Tensor] = []
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            moved.append(value)
            targets.append(wanted[name])
        else:
            value.copy_(wanted[name])
    torch._foreach_lerp_(moved, targets, 1 - decay_at(step, settings))


def decay_at(step: int, settings: EmaSettings) -> float:
    """The part of the average that step number `step` keeps."""
    return min(settings.decay, (1 + step) / (settings.warmup_steps + step))
