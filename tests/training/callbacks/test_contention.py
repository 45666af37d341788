"""Test that a run says when other processes take the cores of its threads, and that it goes on with as many threads."""

from collections.abc import Iterator

import pytest
import torch
from conftest import RunTrain

from launch import threads
from launch.threads import CpuTimes
from models import cards


@pytest.fixture(autouse=True)
def threads_of_the_tests() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize(("others", "lines"), [(1.0, 1), (0.0, 0)])
def test_run_says_once_that_others_take_its_cores(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, others: float, lines: int
) -> None:
    seconds = iter(range(0, 10_000, 10))

    def read() -> CpuTimes:
        now = float(next(seconds))
        return CpuTimes(now, busy=now * (1 + others), own=now)

    monkeypatch.setattr(CpuTimes, "read", read)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    run = run_train("model=softmax_regression", "threads=2", "epochs=3")
    assert run.status == 0, run.errors
    assert run.output.count("other processes leave this run 1 of 2 cores") == lines
    assert run.output.count("resume it with threads=1") == lines


@pytest.mark.slow
def test_resumed_run_has_the_threads_that_it_began_with(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    begun = run_train("model=softmax_regression", "threads=2", "epochs=1", "scheduler=constant")
    assert ", 2 threads," in begun.metrics["machine"]
    monkeypatch.setattr(threads, "idle_cores", lambda *_: 1)
    resumed = run_train(f"resume={begun.folder}", "threads=auto", "epochs=2")
    assert resumed.status == 0, resumed.errors
    assert ", 2 threads," in resumed.metrics["machine"]
    changed = run_train(f"resume={begun.folder}", "threads=1", "epochs=3")
    assert changed.status == 0, changed.errors
    assert ", 1 thread," in changed.metrics["machine"]
    assert cards.read(changed.folder).card["training"]["epochs"] == 3


@pytest.mark.slow
def test_run_that_takes_fewer_threads_says_so(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "idle_cores", lambda *_: 1)
    run = run_train("model=softmax_regression", "epochs=1")
    assert "1 of 2 threads: other processes use this machine." in run.output
    assert ", 1 thread," in run.metrics["machine"]
