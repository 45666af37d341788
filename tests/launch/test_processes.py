"""Test the launcher of several processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from launch import errors, processes

CHILD = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from launch import processes
processes.configure_worker()
if processes.rank_info().rank == 0:
    processes.send_run_dir_to_launcher(Path("runs/mine"))
    {first}
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Start two processes, of which process 0 runs the given line; both then wait for a minute."""

    def started(first: str) -> int:
        monkeypatch.setattr(processes, "PROGRAM", tmp_path / "child.py")
        processes.PROGRAM.write_text(CHILD.format(root=str(ROOT), first=first))
        return processes.start([], 2)

    return started


def test_launcher_names_the_run_folder_when_process_0_is_killed(start: Callable[[str], int]) -> None:
    with pytest.raises(errors.ProcessLost, match="process 0 of 2 was ended by SIGKILL") as lost:
        start("os.kill(os.getpid(), signal.SIGKILL)")
    assert lost.value.folder == Path("runs/mine")


def test_signal_during_the_start_reaches_the_processes(start: Callable[[str], int], monkeypatch) -> None:
    popen = subprocess.Popen

    def signalled(*arguments: Any, **options: Any) -> subprocess.Popen:
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(subprocess, "Popen", popen)
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", signalled)
    with pytest.raises(errors.Interrupted, match="stopped by SIGTERM"):
        start("pass")


def test_exit_status_is_returned_without_process_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "POSIX", False)  # as on Windows
    assert processes.run([sys.executable, "-c", "raise SystemExit(3)"]) == 3


def test_stopped_training_saves_its_work_first(tmp_path: Path) -> None:
    """Start a process that takes a second to save, as for a large checkpoint."""
    lines = [
        "import pathlib, signal, sys, time",
        "def save(*_):",
        "    time.sleep(1)",
        f"    pathlib.Path({str(tmp_path)!r}, 'saved').touch()",
        "    sys.exit(143)",
        "signal.signal(signal.SIGTERM, save)",
        f"pathlib.Path({str(tmp_path)!r}, 'ready').touch()",
        "time.sleep(60)",
    ]

    def stop() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(errors.Interrupted, match="stopped by SIGTERM") as stopped:
        processes.run([sys.executable, "-c", "\n".join(lines)])
    thread.join()
    assert stopped.value.status == 143
    assert (tmp_path / "saved").exists()
