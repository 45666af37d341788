"""Test that training, evaluation, prediction and export run without modules that only POSIX systems have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

NOT_POSIX = """
import ctypes, os, signal, sys
for module in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[module] = None  # its import raises ImportError
for name in ("SIGKILL", "SIGPIPE", "SIGHUP"):
    delattr(signal, name)
class CDLL(ctypes.CDLL):
    def __init__(self, name, *args, **kwargs):
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *args, **kwargs)
ctypes.CDLL = CDLL
for name in ("killpg", "setpgrp", "setsid", "getpgid"):
    delattr(os, name)
sys.path.insert(0, {root!r})
sys.argv = {argv!r}
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = NOT_POSIX.format(root=str(ROOT), argv=[str(ROOT / arguments[0]), *arguments[1:]])
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.thorough
def test_programs_run_without_posix_modules(tmp_path: Path) -> None:
    small = ("model=softmax_regression", "epochs=1", "data.train_size=600", "data.val_size=100", "data.test_size=100")
    trained = run("train.py", *small, f"run_dir={tmp_path / 'run'}", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["status"] == "finished"
    assert (tmp_path / "run/report.html").exists()

    measured = run("evaluate.py", "--weights", "run", folder=tmp_path)
    assert (measured.returncode, "as recorded" in measured.stdout) == (0, True), measured.stderr
    exported = run("export.py", "--weights", "run", "--output", "run.onnx", folder=tmp_path)
    assert (exported.returncode, (tmp_path / "run.onnx").exists()) == (0, True), exported.stderr


def test_wrong_command_is_refused_without_posix_modules(tmp_path: Path) -> None:
    refused = run("train.py", "epohcs=3", folder=tmp_path)
    assert (refused.returncode, "did you mean 'epochs'?" in refused.stderr) == (2, True)
