"""Test the fast training loop: network, checkpoints and history equal those of Lightning's own loop."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from conftest import SMALL_DENSENET, RunTrain
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from training import machine
from training.callbacks.interruption import Interruption
from training.loop import FastEpochLoop, install_fast_loop
from training.module import ClassificationModule
from training.schedules import constant

SMALL = ("data.train_size=320", "data.val_size=60", "data.test_size=60")  # ten batches of 64 images in two epochs
TIMES = ("train_seconds", "epoch_seconds", "images_per_second")
RUNS = {
    "lenet": ["model=lenet", "optimizer=adamw"],
    "batch norm": [*SMALL_DENSENET, "batch_size=16"],
    "all options": [
        *("model=mlp", "model.dropout=0.5", "optimizer=nesterov", "scheduler=cosine", "gradient_clip=0.1", "ema=0.9"),
        *("select=best", "loss.label_smoothing=0.1", "loss.l1=1e-5", "data.augment.shift=2"),
    ],
    "step by epoch": ["model=mlp", "optimizer=adadelta", "scheduler=step"],
    "bf16": ["model=lenet", "model.activation=relu", "precision=bf16-mixed", "gradient_clip=0.1"],
}


LIGHTNING_ADVANCE = _TrainingEpochLoop.advance


def checkpoint(folder: Path, number: int) -> dict[str, Any]:
    files = sorted((folder / "checkpoints").glob("*.ckpt"))
    return torch.load(files[number], weights_only=True)


def equal_except_times(found: Any, expected: Any) -> bool:
    """Compare nested values, and leave out times."""
    if isinstance(expected, dict):
        keys = [key for key in expected if key not in TIMES]
        return found.keys() == expected.keys() and all(equal_except_times(found[key], expected[key]) for key in keys)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(equal_except_times, found, expected))
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    return type(found) is type(expected) and found == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_fast_loop_gives_the_same_checkpoints_and_weights_as_lightning(
    name: str, run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "BFLOAT16", ("avx2", "neon", *machine.BFLOAT16))  # which emulate it
    monkeypatch.setattr(_TrainingEpochLoop, "advance", None)  # so that a step of Lightning's loop would fail
    ours = run_train(*SMALL, *RUNS[name], folder="ours")
    assert ours.status == 0, ours.errors
    monkeypatch.setattr(FastEpochLoop, "advance", LIGHTNING_ADVANCE)
    expected = run_train(*SMALL, *RUNS[name], folder="expected")
    for number in (0, 1):  # of the first and the last epoch
        assert equal_except_times(checkpoint(ours.folder, number), checkpoint(expected.folder, number))
    assert ours.metrics["weights_sha256"] == expected.metrics["weights_sha256"]
    assert ours.metrics["train"] == expected.metrics["train"]


@pytest.mark.slow
def test_interrupted_fast_loop_saves_the_same_checkpoint_as_lightning(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_train_batch_start(self: Interruption, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Interruption, "on_train_batch_start", on_train_batch_start)
    monkeypatch.setattr(_TrainingEpochLoop, "advance", None)
    ours = run_train(*SMALL, *RUNS["all options"], folder="ours")
    monkeypatch.setattr(FastEpochLoop, "advance", LIGHTNING_ADVANCE)
    expected = run_train(*SMALL, *RUNS["all options"], folder="expected")
    assert (ours.status, expected.status) == (130, 130)
    assert equal_except_times(checkpoint(ours.folder, -1), checkpoint(expected.folder, -1))


SHARED_HOOKS = ["on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step"]
MODULE_HOOKS = [
    *("on_train_batch_start", "on_train_batch_end", "optimizer_zero_grad", "backward", "lr_scheduler_step"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer", "optimizer_step"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "hook"),
    [
        *((ClassificationModule, hook) for hook in [*SHARED_HOOKS, *MODULE_HOOKS]),
        *((Interruption, hook) for hook in [*SHARED_HOOKS, "on_train_batch_start", "on_train_batch_end"]),
    ],
)
def test_overridden_hook_is_called_in_every_step(owner: type, hook: str, run_train: RunTrain, monkeypatch: Any) -> None:
    before, calls = getattr(owner, hook), []

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return before(self, *args, **kwargs)

    monkeypatch.setattr(owner, hook, counting)
    assert run_train("model=softmax_regression", *SMALL).status == 0
    assert len(calls) >= 10


def test_fast_path_is_off_with_a_gradient_scaler() -> None:
    trainer: Any = lightning.Trainer(barebones=True)
    trainer.strategy.connect(
        ClassificationModule(torch.nn.Linear(1, 1), torch.nn.CrossEntropyLoss(), torch.optim.SGD, constant)
    )
    loop: Any = install_fast_loop(trainer).fit_loop.epoch_loop
    for scaler, fast_path in ((None, True), (object(), False)):
        trainer.precision_plugin.scaler = scaler
        loop.on_run_start(_PrefetchDataFetcher())
        assert loop.fast_path == fast_path
