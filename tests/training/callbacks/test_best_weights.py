"""Test `select=best`: the network of the epoch with the best validation accuracy is tested and stored."""

import pytest
import torch
from conftest import RunTrain

import models

# The rate is so large that the accuracy goes up and down.
UNSTABLE = ("model=mlp", "optimizer=sgd", "optimizer.lr=0.7", "scheduler=constant", "epochs=8", "data.test_size=500")


@pytest.mark.slow
@pytest.mark.parametrize("average", [(), ("ema=0.3",)])
def test_network_of_the_best_epoch_is_tested_and_stored(run_train: RunTrain, average: tuple[str, ...]) -> None:
    for seed in range(1, 9):  # until the best epoch is neither the first nor the last; the seed depends on the CPU
        settings = (*UNSTABLE, *average, f"seed={seed}")
        best = run_train(*settings, "select=best", folder=f"best{seed}")
        assert best.status == 0, best.errors
        accuracies = [float(row["val_accuracy"]) for row in best.rows]
        epoch = accuracies.index(max(accuracies)) + 1
        if 1 < epoch < 8:
            break
    else:
        pytest.fail("no seed has its best epoch in the middle")
    assert best.metrics["epoch"] == epoch
    assert f"the best was epoch {epoch} -> " in best.output
    assert best.metrics["val"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-6)

    ended_at_best = run_train(*settings, f"epochs={epoch}", folder="there")
    assert ended_at_best.metrics["epoch"] == epoch
    assert ended_at_best.metrics["test"] == best.metrics["test"]
    networks = [models.load(run.folder).state_dict() for run in (best, ended_at_best)]
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_select_best_without_validation_is_refused(run_train: RunTrain) -> None:
    refused = run_train("select=best", "data.val_size=0")
    assert (refused.status, "data.val_size=0 leaves none" in refused.errors) == (2, True)
