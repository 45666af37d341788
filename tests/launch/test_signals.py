"""Test how signals are held back while modules are imported and while the report is made."""

import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from conftest import ROOT, RunTrain

from launch import signals
from launch.errors import Interrupted


@pytest.mark.parametrize("number", signals.STOP_SIGNALS)
def test_deferred_signal_is_raised_after_the_block(number: signal.Signals) -> None:
    before, finished = signal.getsignal(number), []

    def import_modules() -> None:
        with signals.deferred():
            os.kill(os.getpid(), number)
            finished.append(True)

    with pytest.raises(Interrupted, match=f"stopped by {number.name}") as stopped:
        import_modules()
    assert (finished, stopped.value.status) == ([True], 128 + number)
    assert signal.getsignal(number) == before


def test_second_deferred_signal_ends_the_process() -> None:
    lines = ["import os, signal", "from launch import signals", "with signals.deferred():"]
    lines += ["    os.kill(os.getpid(), signal.SIGTERM)"] * 2
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT).returncode == 143


def test_run_interrupted_in_its_report_can_be_resumed(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    from reports import run_report

    def interrupt(*_: Any) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return ""

    short = ("model=softmax_regression", "epochs=1", "data.test_size=100", "report=true")
    with monkeypatch.context() as patch:
        patch.setattr(run_report, "render", interrupt)
        stopped = run_train(*short)
    assert (stopped.status, stopped.metrics["status"]) == (130, "interrupted")
    assert stopped.errors.endswith(f"resume={stopped.folder}\n")
    assert not (stopped.folder / "report.html").exists()
