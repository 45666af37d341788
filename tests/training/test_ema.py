"""Test `ema`: averaged weights are validated, tested and stored, and training does not depend on them."""

import pytest
import torch
from conftest import SMALL_DENSENET, RunTrain

import models
from training.module import ClassificationModule

NETWORK = (*SMALL_DENSENET, "scheduler=constant", "precision=32-true")  # as the evaluation that it is compared with
SMALL = ("data.train_size=320", "data.val_size=100", "data.test_size=100")


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Return a list that receives the trained network's state before the first step and after each."""
    states: list[dict[str, torch.Tensor]] = []
    step, start = ClassificationModule.optimizer_step, ClassificationModule.on_train_start

    def keep(task: ClassificationModule) -> None:
        states.append({key: value.clone() for key, value in task.network.state_dict().items()})

    def on_train_start(self: ClassificationModule) -> None:
        start(self)
        keep(self)

    def optimizer_step(self: ClassificationModule, *args: object, **kwargs: object) -> None:
        step(self, *args, **kwargs)
        keep(self)

    monkeypatch.setattr(ClassificationModule, "on_train_start", on_train_start)
    monkeypatch.setattr(ClassificationModule, "optimizer_step", optimizer_step)
    return states


@pytest.mark.slow
def test_stored_weights_are_the_exponential_moving_average(
    run_train: RunTrain, states: list[dict[str, torch.Tensor]]
) -> None:
    run = run_train(*NETWORK, *SMALL, "ema=0.8")
    assert run.status == 0, run.errors
    expected = {key: value.double() for key, value in states[0].items()}
    for step, state in enumerate(states[1:]):
        decay = min(0.8, (1 + step) / (10 + step))
        for key, value in state.items():
            expected[key] = value.double() if "batches" in key else decay * expected[key] + (1 - decay) * value.double()
    stored = models.load(run.folder).state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(stored[key].double(), value, rtol=1e-5, atol=1e-6)
    largest_difference = max((stored[key] - states[-1][key]).abs().max().item() for key in expected if "weight" in key)
    assert largest_difference > 1e-3  # the network without averaging would be noticed

    last = run.rows[-1]
    assert float(last["val_loss"]) == pytest.approx(run.metrics["val"]["loss"], rel=1e-4)
    assert float(last["val_accuracy"]) == pytest.approx(run.metrics["val"]["accuracy"], abs=1e-6)


@pytest.mark.slow
def test_ema_does_not_change_training(run_train: RunTrain, states: list[dict[str, torch.Tensor]]) -> None:
    plain = run_train(*NETWORK, *SMALL, folder="plain")
    without = states[-1]
    averaged = run_train(*NETWORK, *SMALL, "ema=0.99", folder="averaged")
    assert all(torch.equal(states[-1][key], value) for key, value in without.items())
    assert averaged.metrics["train"] == plain.metrics["train"]
    assert averaged.metrics["val"] != plain.metrics["val"]
