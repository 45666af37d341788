"""Test how many threads are chosen, from what the system counts."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import threads
from launch.processes import SIDE_BY_SIDE
from launch.sweep import Sweep
from launch.threads import CpuTimes

BEFORE = CpuTimes(now=100.0, busy=50.0, own=5.0)


@pytest.fixture(autouse=True)
def four_cores_and_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "core_numbers", lambda: {0, 1, 2, 5})


@pytest.mark.parametrize(
    ("others", "idle"),
    [(0.0, 4), (0.4, 4), (0.6, 3), (1.0, 3), (2.4, 2), (2.6, 1), (4.0, 1), (9.0, 1)],  # cores that they use
)
def test_others_leave_the_rest_of_the_cores(monkeypatch: pytest.MonkeyPatch, others: float, idle: int) -> None:
    now = CpuTimes(now=110.0, busy=50.0 + 10 * others + 8.0, own=13.0)  # of which this process has had 8 seconds
    monkeypatch.setattr(CpuTimes, "read", lambda: now)
    assert threads.idle_cores(BEFORE) == idle


def test_all_cores_count_as_idle_where_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert threads.idle_cores(None) == 4
    monkeypatch.setattr(threads, "STAT", tmp_path / "none")
    assert CpuTimes.read() is None
    assert threads.idle_cores(BEFORE) == 4
    monkeypatch.setattr(CpuTimes, "read", lambda: CpuTimes(100.1, 51.0, 5.0))
    assert threads.idle_cores(BEFORE) == 4  # too short to say


def test_only_busy_ticks_of_own_cores_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = ("cpu 9 9 9 9 9 9 9 9 0 0", "cpu0 100 20 3 5000 700 1 2 40 8 9", "cpu3 1 1 1 1 1 1 1 1 1 1")
    (tmp_path / "stat").write_text("\n".join([*lines, "cpu5 0 0 0 9 0 0 0 34 0 0", "intr 5"]))
    monkeypatch.setattr(threads, "STAT", tmp_path / "stat")
    found = CpuTimes.read()
    assert found is not None
    assert found.busy == pytest.approx((100 + 20 + 3 + 1 + 2 + 40 + 34) / 100)


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux")
def test_a_process_that_computes_is_seen() -> None:
    """Its seconds are in `busy` and not in `own`, within what the tests' other process uses."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        time.sleep(0.3)
        before = CpuTimes.read()
        time.sleep(1)
        after = CpuTimes.read()
        process.kill()
    assert before
    assert after
    assert after.busy - before.busy > 0.3
    assert after.own - before.own < 0.3


def test_users_choice_comes_first_then_the_environment_then_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert threads.given("auto") is None
    assert threads.given("auto", recorded=2) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "5,1")
    assert threads.given("auto", recorded=2) == 5
    assert threads.given(7, recorded=2) == 7


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["hydra/launcher=submitit_local", "seed=1,2", "model=mlp"], {"OMP_NUM_THREADS": "2"}),
        (["hydra/launcher=submitit_local", "seed=range(1,4)", "model=mlp,lenet"], {"OMP_NUM_THREADS": "1"}),
        (["hydra/launcher=submitit_slurm", "seed=1,2"], {}),
        (["hydra/launcher=joblib", "seed=range(0,9)", "hydra.launcher.n_jobs=2"], {"OMP_NUM_THREADS": "2"}),
        (["hydra/launcher=joblib", "seed=1,2"], {"OMP_NUM_THREADS": "2"}),
        (["hydra/launcher=joblib", "seed=range(0,9)"], {"OMP_NUM_THREADS": "1"}),
        (["hydra/launcher=joblib", "seed=range(0,9)", "hydra.launcher.n_jobs=-3"], {"OMP_NUM_THREADS": "2"}),
        (["hydra/launcher=joblib", "seed=range(0,9)", "hydra.launcher.n_jobs=1"], {}),
        (["hydra/launcher=ray", "seed=range(0,9)"], {"OMP_NUM_THREADS": "1"}),
        (["seed=1,2"], {}),
    ],
)
def test_jobs_that_a_launcher_starts_together_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: dict[str, str]
) -> None:
    sweep = Sweep(tmp_path, overrides, ["seed"], resumed=False)
    together = {SIDE_BY_SIDE: "1"} if expected else {}  # no bars
    assert sweep.environment() == expected | together
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert sweep.environment() == together
