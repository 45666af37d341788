"""`select=best` ends with the network of the epoch that validation liked best."""

import csv

import pytest
import torch
from conftest import RunTrain

import models

# a rate so large that the accuracy goes up and down
RESTLESS = ("model=mlp", "optimizer=sgd", "optimizer.lr=0.7", "scheduler=constant", "epochs=8", "data.test_size=500")


@pytest.mark.parametrize("average", [(), ("ema=0.3",)])
def test_the_best_epoch_is_tested_and_stored(run_train: RunTrain, average: tuple[str, ...]) -> None:
    for seed in range(1, 9):  # until the best is neither the first nor the last: which seed does it depends on the CPU
        restless = (*RESTLESS, *average, f"seed={seed}")
        best = run_train(*restless, "select=best", folder=f"best{seed}")
        assert best.status == 0, best.errors
        with (best.folder / "metrics.csv").open() as file:
            accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
        epoch = accuracies.index(max(accuracies)) + 1
        if 1 < epoch < 8:
            break
    else:
        pytest.fail("no seed's best epoch was one in the middle")
    assert best.metrics["epoch"] == epoch
    assert f"the best was epoch {epoch} -> " in best.output
    assert best.metrics["val"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-6)

    stopped_there = run_train(*restless, f"epochs={epoch}", folder="there")
    assert stopped_there.metrics["epoch"] == epoch
    assert stopped_there.metrics["test"] == best.metrics["test"]
    networks = [models.load(run.folder).state_dict() for run in (best, stopped_there)]
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_the_best_needs_validation(run_train: RunTrain) -> None:
    refused = run_train("select=best", "data.val_size=0")
    assert (refused.status, "data.val_size=0 leaves none" in refused.errors) == (2, True)
