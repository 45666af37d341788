"""Test interruption by signals, in one process and in several."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launch import errors
from launch.errors import Interrupted
from training import distributed
from training.callbacks.interruption import Interruption


def test_second_signal_terminates_the_run_immediately(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption(tmp_path) as interruption:
        interruption.on_train_start()
        os.kill(os.getpid(), signal.SIGTERM)  # the current batch is finished
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == [signal.SIG_DFL] * 2
        trainer = SimpleNamespace(is_last_batch=False, current_epoch=1, global_step=9)
        with pytest.raises(Interrupted, match="stopped by SIGTERM in epoch 2, after step 9") as stopped:
            interruption.on_train_batch_end(trainer)  # pyright: ignore[reportArgumentType]
    assert (stopped.value.status, stopped.value.folder) == (143, tmp_path)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def test_processes_stop_together_when_the_signal_comes_twice(tmp_path: Path) -> None:
    class Other(distributed.Peers):
        def sync(self) -> None:
            self._largest = [own() for own in self._own]

    peers = Other(0, 2, group="a group")
    trainer = cast(Any, SimpleNamespace(is_last_batch=False, current_epoch=0, global_step=7))
    with Interruption(tmp_path, peers) as interruption:
        interruption.on_train_start()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        interruption.on_train_batch_end(trainer)  # the other processes do not know of the signal yet
        peers.sync()
        with pytest.raises(errors.Interrupted, match="stopped by SIGTERM in epoch 1, after step 7"):
            interruption.on_train_batch_end(trainer)
