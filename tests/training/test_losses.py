"""Test the losses against the formulas of their papers in NumPy."""

import numpy as np
import pytest
import torch
from conftest import RunTrain

import models
from training.losses import CrossEntropy, Focal

LOGITS = 3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 2])
WEIGHTS = (0.5, 1.0, 4.0)


def log_probabilities() -> np.ndarray:
    logits = LOGITS.numpy()
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_its_paper(gamma: float, weights: tuple[float, ...] | None) -> None:
    of_label = log_probabilities()[range(8), LABELS]
    losses = -((1 - np.exp(of_label)) ** gamma) * of_label
    expected = np.average(losses, weights=np.array(weights)[LABELS] if weights else None)
    assert Focal(gamma, weights).double()(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_weighted_by_the_classes_as_focal_loss_is(
    weights: tuple[float, ...] | None,
) -> None:
    losses = -log_probabilities()[range(8), LABELS]
    expected = np.average(losses, weights=np.array(weights)[LABELS] if weights else None)
    for loss in (CrossEntropy(class_weights=weights), Focal(0, weights)):
        assert loss.double()(LOGITS, LABELS).item() == pytest.approx(expected, rel=1e-6)


def test_focal_loss_has_a_finite_gradient_where_the_network_is_sure() -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    Focal(0.5)(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.slow
def test_class_weights_change_what_is_learnt(run_train: RunTrain) -> None:
    """Expect a network that is told to care for the class 3 alone to answer 3."""
    weights = [1e-4] * 3 + [1] + [1e-4] * 6
    run = run_train(
        "model=softmax_regression", f"loss.class_weights={weights}".replace(" ", ""), "loss=focal", "epochs=1"
    )
    assert run.status == 0, run.errors
    assert run.metrics["test"]["accuracy"] < 0.5
    assert models.card(run.folder)["training"]["loss"]["class_weights"] == weights
