"""Test that a loss that is not finite ends the run in every process."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import distributed as dist

from launch.errors import RunFailed
from training.callbacks.finite_loss import FiniteLoss
from training.callbacks.synchronisation import SynchronizeProcesses
from training.distributed import Peers
from training.module import LossAndAccuracy


def test_non_finite_loss_in_another_process_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneProcessWithNan(Peers):
        def sync(self) -> None:
            self._largest = [max(own(), 1) for own in self._own]

    peers = OneProcessWithNan(0, 2, group="a group")
    task = cast(Any, SimpleNamespace(device=torch.device("cpu"), train_metrics=LossAndAccuracy()))
    trainer = cast(Any, SimpleNamespace(global_rank=0, current_epoch=0))
    synchronisation, finite_loss = SynchronizeProcesses(peers), FiniteLoss(peers)
    finite_loss.on_train_start(trainer, task)
    finite_loss.on_train_batch_start(trainer, task, None, 4)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "all_reduce", lambda loss: loss.fill_(torch.nan))
    finite_loss.on_train_batch_end(trainer, task, None, None, 4)  # the processes have not been synchronised yet
    synchronisation.on_train_batch_end(trainer, task, None, None, 4)
    with pytest.raises(RunFailed, match="the loss became nan in epoch 1, batch 5"):
        finite_loss.on_train_batch_end(trainer, task, None, None, 4)
    assert task.train_metrics.loss == 0  # the sum of this process is unchanged
