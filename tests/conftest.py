"""Runs of train.py inside the test's own process: importing Lightning anew would cost each of them ten seconds."""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: there are two of these processes

import torch

import train
from data import idx

ROOT = Path(__file__).parents[1]  # of the repository


class Run(NamedTuple):
    status: int
    output: str
    errors: str
    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())


RunTrain = Callable[..., Run]

read_once = functools.cache(idx.read)  # to unpack and hash the archives takes longer than most of these runs


@pytest.fixture
def run_train(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunTrain:
    """`train.py` with these overrides, on 600 training images for two epochs unless they say otherwise."""

    def run(*overrides: str, folder: str = "run") -> Run:
        small = ("epochs=2", "data.train_size=600", "data.val_size=400", "batch_size=64", "trainer=cpu", "report=false")
        monkeypatch.setattr(sys, "argv", ["train.py", *small, f"run_dir={tmp_path / folder}", *overrides])
        monkeypatch.setattr(idx, "read", read_once)
        torch.manual_seed(sum(map(len, overrides)))  # a run may not depend on the state it finds
        capfd.readouterr()
        status = train.main()
        output, errors = capfd.readouterr()
        return Run(status, output, errors, tmp_path / folder)

    return run
