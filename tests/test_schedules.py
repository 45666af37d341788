"""Every schedule fits into its run and has the rates it is known for."""

import pytest
import torch
from torch import nn

from training import schedules


def rates(scheduler: str, steps: int, **arguments: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = getattr(schedules, scheduler)(optimizer, total_steps=steps, **arguments)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_constant() -> None:
    assert rates("constant", 5) == [0.5] * 5


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 429])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.3, 1.0])
def test_one_cycle_fits_into_the_run(steps: int, warm_up: float) -> None:
    found = rates("one_cycle", steps, warm_up=warm_up)
    assert len(found) == steps
    assert max(found) <= 0.5 + 1e-12
    assert min(found) > 0


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing() -> None:
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
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, steps, pct_start=0.3, cycle_momentum=False)
    expected = []
    for _ in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates("one_cycle", steps, warm_up=0.3) == pytest.approx(expected, rel=1e-6)
