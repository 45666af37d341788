"""Run programs inside the process of the tests: importing Lightning anew would cost each of them ten seconds."""

import csv
import functools
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: two processes run tests

import torch
from hydra._internal.hydra import Hydra

import train
from data import idx
from launch import flags, signals
from launch.imports import import_lightning

import_lightning()
ROOT = Path(__file__).parents[1]  # of the repository
CARD = {"data": "mnist", "input": {}, "classes": [], "metrics": {}, "training": {}, "versions": {}}
SMALL_DENSENET = ("model=densenet", "model.growth_rate=4", "model.layers_per_block=[1,1,1,1]")


class Run(NamedTuple):
    status: int
    output: str
    errors: str
    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def rows(self) -> list[dict[str, str]]:
        """Return the rows of metrics.csv, one per epoch."""
        with (self.folder / "metrics.csv").open() as file:
            return list(csv.DictReader(file))

    @property
    def contents(self) -> dict[Path, bytes]:
        """Return all files of the run folder."""
        return {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}


class Result(NamedTuple):
    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        """Return the output without its first line."""
        return self.output.splitlines()[1:]


RunTrain = Callable[..., Run]
RunProgram = Callable[..., Result]

read_once = functools.cache(idx.read)  # unpacking and hashing the archives takes longer than most runs


@pytest.fixture(scope="session", autouse=True)
def imported_modules_are_no_garbage() -> Iterator[None]:
    """Keep garbage collections, one after each run, from searching all modules, which takes half a second."""
    import training.run  # noqa: F401

    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def run_train(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunTrain:
    """Run train.py with these overrides, by default on 600 training images for two epochs."""

    def run(*overrides: str, folder: str = "run") -> Run:
        small = ("epochs=2", "data.train_size=600", "data.val_size=400", "batch_size=64", "trainer=cpu", "report=false")
        monkeypatch.setattr(sys, "argv", ["train.py", *small, f"run_dir={tmp_path / folder}", *overrides])
        monkeypatch.setattr(idx, "read", read_once)
        monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)  # it composes, to find that hydra.mode is null
        torch.manual_seed(sum(map(len, overrides)))  # a run must not depend on the state of the generator
        capfd.readouterr()
        status = train.main()
        output, errors = capfd.readouterr()
        return Run(status, output, errors, tmp_path / folder)

    return run


@pytest.fixture
def resume(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunTrain:
    """Resume a run of `run_train`, with further overrides."""

    def run(*overrides: str, folder: str = "run") -> Run:
        complete = train.complete

        def as_typed(arguments: list[str], runs: Path) -> Any:  # without the overrides that run_train adds
            return complete([*overrides, f"resume={tmp_path / folder}"], runs)

        with monkeypatch.context() as patch:
            patch.setattr(train, "complete", as_typed)
            return run_train(folder=folder)

    return run


@pytest.fixture
def own_run(run_train: RunTrain, tmp_path: Path) -> Path:
    """Train on own data: colour images of 12 x 10 pixels, red ones and blue ones. Return the run folder."""
    images, labels = np.zeros((60, 12, 10, 3), np.uint8), np.arange(60) % 2
    images[np.arange(60), ..., 2 * labels] = np.random.default_rng(0).integers(100, 256, (60, 12, 10))
    np.savez(tmp_path / "colours.npz", images=images, labels=labels)
    own = ("data=arrays", f"data.root={tmp_path / 'colours.npz'}", "data.train_size=38", "data.val_size=10")
    run = run_train("model=mlp", *own, "batch_size=19", folder="own_run")
    assert run.status == 0, run.errors
    return run.folder


@pytest.fixture
def run_program(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunProgram:
    """Run a program of the repository, such as the module `export`, with these arguments."""

    def run(program: ModuleType, *arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", [f"{program.__name__}.py", *map(str, arguments)])
        monkeypatch.setattr(idx, "read", read_once)
        capfd.readouterr()
        status = flags.status_of(program.main)
        output, errors = capfd.readouterr()
        return Result(status, output, errors)

    return run


def run_example(name: str, folder: Path, *arguments: str) -> dict[str, Any]:
    """Run an example as `examples/<name>.py --output <folder>`, and return what it has defined.

    There is no `__file__`, as in a notebook.
    """
    broken_pipe = signal.getsignal(signal.SIGPIPE)
    with pytest.MonkeyPatch.context() as patch, signals.handling(signal.SIG_DFL):
        patch.setattr(sys, "argv", [f"{name}.py", "--output", str(folder), *arguments])
        patch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
        patch.setattr(idx, "read", read_once)
        file, defined = ROOT / "examples" / f"{name}.py", {"__name__": "__main__"}
        exec(compile(file.read_text(encoding="utf-8"), file, "exec"), defined)
        signal.signal(signal.SIGPIPE, broken_pipe)
        return defined
