"""Compare the learning rates of every schedule with torch's and with their definition."""

import inspect

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from training import schedules

EPOCHS = 5


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)


def walk(schedule: LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.optimizer.step()
        schedule.step()
    return found


def rates(scheduler: str, steps: int, **arguments: float) -> list[float]:
    """Return the rates of all steps of a run of EPOCHS epochs, or of one epoch if `steps` is no multiple."""
    epochs = EPOCHS if steps % EPOCHS == 0 else 1
    make = getattr(schedules, scheduler)
    if "epochs" in inspect.signature(make).parameters:
        arguments["epochs"] = epochs
    return walk(make(optimizer(), steps_per_epoch=steps // epochs, **arguments), steps)


def test_constant_keeps_the_rate() -> None:
    assert rates("constant", 5) == [0.5] * 5


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 429])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("scheduler", ["one_cycle", "cosine"])
def test_rates_are_positive_and_at_most_lr_for_any_number_of_steps(scheduler: str, steps: int, warm_up: float) -> None:
    found = rates(scheduler, steps, warm_up=warm_up)
    assert len(found) == steps
    assert max(found) <= 0.5 + 1e-12
    assert min(found) > 0


def test_one_cycle_rises_to_lr_and_falls_to_zero() -> None:
    found = rates("one_cycle", 101, warm_up=0.3)
    top = found.index(max(found))
    assert found[0] == pytest.approx(0.5 / 25)
    assert max(found) == pytest.approx(0.5, rel=1e-3)
    assert top in (29, 30)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert found[-1] < 1e-5


@pytest.mark.parametrize("steps", [10, 430, 4290])
def test_one_cycle_has_the_rates_of_torch(steps: int) -> None:
    reference = lr_scheduler.OneCycleLR(optimizer(), 0.5, steps, pct_start=0.3, cycle_momentum=False)
    assert rates("one_cycle", steps, warm_up=0.3) == pytest.approx(walk(reference, steps), rel=1e-6)


@pytest.mark.parametrize("steps", [20, 430])
def test_cosine_has_the_rates_of_torch(steps: int) -> None:
    reference, rising = optimizer(), steps // 10
    parts = [
        lr_scheduler.LinearLR(reference, 1 / (rising + 1), total_iters=rising),
        lr_scheduler.CosineAnnealingLR(reference, steps - rising),
    ]
    expected = walk(lr_scheduler.SequentialLR(reference, parts, milestones=[rising]), steps)
    assert rates("cosine", steps, warm_up=0.1) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_step_has_the_rates_of_torch(every: int) -> None:
    expected = walk(lr_scheduler.StepLR(optimizer(), 7 * every, gamma=0.3), 35)
    assert rates("step", 35, every=every, factor=0.3) == pytest.approx(expected)
