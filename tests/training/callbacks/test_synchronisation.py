"""Test the synchronisation of processes during an epoch."""

from types import SimpleNamespace
from typing import Any, cast

import torch

from training import distributed
from training.callbacks.synchronisation import SynchronizeProcesses
from training.module import LossAndAccuracy


def test_non_finite_loss_in_another_process_is_raised_here() -> None:
    class Other(distributed.Peers):
        def sync(self) -> None:
            self._largest = [max(own(), 1) for own in self._own]

    asked: list[str] = []
    task = SimpleNamespace(device=torch.device("cpu"), train_metrics=LossAndAccuracy(), check_finite=asked.append)
    SynchronizeProcesses(Other(0, 2, group="a group")).on_train_batch_end(
        cast(Any, None), cast(Any, task), None, None, 4
    )
    assert asked == [", batch 5"]
