from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
)

from retinaface_cli.settings.optimization import (
    AdamWSettings,
    ConstantSettings,
    CosineSettings,
    MultiStepSettings,
    OneCycleSettings,
    SchedulerSettings,
    SgdSettings,
    WarmRestartsSettings,
)
from retinaface_cli.training.optimization import (
    build_optimizer,
    build_scheduler,
    learning_rate_factor,
    scale_learning_rate,
)


def torch_factors(build: Callable[[Optimizer], LRScheduler], num_steps: int) -> list[float]:
    """The factors of a scheduler of torch at its steps, the start included."""
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(optimizer)
    factors = []
    for _ in range(num_steps):
        factors.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("settings", "build"),
    [
        (MultiStepSettings(milestones=(5, 8), gamma=0.1), lambda o: MultiStepLR(o, [5, 8], 0.1)),
        (CosineSettings(final_factor=0.02), lambda o: CosineAnnealingLR(o, 20, eta_min=0.02)),
        (
            WarmRestartsSettings(first_cycle_epochs=3, cycle_growth=2, final_factor=0.1),
            lambda o: CosineAnnealingWarmRestarts(o, 3, 2, eta_min=0.1),
        ),
        (
            OneCycleSettings(rising_part=0.3, start_factor=0.04, final_factor=1e-3),
            lambda o: OneCycleLR(
                o, 1.0, 21, pct_start=7 / 21, div_factor=25, final_div_factor=40, cycle_momentum=False
            ),
        ),
        (ConstantSettings(), lambda o: CosineAnnealingLR(o, 20, eta_min=1.0)),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_schedules_are_those_of_torch_at_whole_epochs(
    settings: SchedulerSettings, build: Callable[[Optimizer], LRScheduler]
) -> None:
    factors = [learning_rate_factor(settings, epoch, max_epochs=20) for epoch in range(20)]
    assert factors == pytest.approx(torch_factors(build, 20), abs=1e-9)


def test_the_last_step_of_a_cosine_is_near_its_end() -> None:
    assert learning_rate_factor(CosineSettings(final_factor=0.1), 9.99, max_epochs=10) == pytest.approx(0.1, abs=1e-4)
    assert learning_rate_factor(CosineSettings(final_factor=0.1), 12, max_epochs=10) == pytest.approx(0.1)


def test_warm_up_multiplies_the_schedule() -> None:
    settings = MultiStepSettings(milestones=(1,), gamma=0.5, warmup_epochs=2, warmup_start_factor=0.1)
    factors = [learning_rate_factor(settings, epoch, max_epochs=9) for epoch in (0, 0.5, 1, 2, 3)]
    assert factors == pytest.approx([0.1, 0.325, 0.55 * 0.5, 0.5, 0.5])


def test_the_schedule_moves_with_every_step() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    scheduler = build_scheduler(optimizer, CosineSettings(final_factor=0), steps_per_epoch=4, max_epochs=2)
    rates = []
    for _ in range(8):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.2 * (1 + math.cos(math.pi * step / 8)) for step in range(8)])


def test_a_schedule_goes_on_where_it_was_saved() -> None:
    def make() -> tuple[SGD, LRScheduler]:
        optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        settings = WarmRestartsSettings(first_cycle_epochs=1, warmup_epochs=0.5)
        return optimizer, build_scheduler(optimizer, settings, steps_per_epoch=5, max_epochs=4)

    optimizer, scheduler = make()
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    other_optimizer, other = make()
    other_optimizer.load_state_dict(optimizer.state_dict())
    other.load_state_dict(scheduler.state_dict())
    for _ in range(6):
        assert other_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        for part in (optimizer, other_optimizer, scheduler, other):
            part.step()


def test_the_learning_rate_grows_with_the_global_batch() -> None:
    assert scale_learning_rate(SgdSettings(lr=0.01, reference_batch_size=32), global_batch_size=64) == 0.02
    assert scale_learning_rate(SgdSettings(lr=0.01, reference_batch_size=32), global_batch_size=8) == 0.0025
    assert scale_learning_rate(SgdSettings(lr=0.01), global_batch_size=64) == 0.01


def test_norms_and_biases_are_spared_weight_decay_on_demand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False))
    network[0].bias.requires_grad_(False)
    spared = build_optimizer(network, AdamWSettings(weight_decay=0.1, decay_norm_and_bias=False), lr=1e-3)
    assert isinstance(spared, AdamW)
    assert [group["weight_decay"] for group in spared.param_groups] == [0.1, 0.0]
    assert [len(group["params"]) for group in spared.param_groups] == [2, 2]
    plain = build_optimizer(network, SgdSettings(weight_decay=5e-4, momentum=0.8, nesterov=True), lr=0.1)
    assert isinstance(plain, SGD)
    assert [len(group["params"]) for group in plain.param_groups] == [4]
    group = plain.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["momentum"], group["nesterov"]) == (0.1, 5e-4, 0.8, True)
