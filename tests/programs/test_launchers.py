"""Test sweeps whose jobs run side by side, by Hydra's launchers: the same table, failures and folders as one by one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, RunTrain

import models

SMALL = ("data.train_size=600", "data.val_size=400", "batch_size=64", "trainer=cpu", "report=false", "threads=1")


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "train.py"), "-m", f"run_dir={folder}", *SMALL, *words]


def table(output: str) -> list[str]:
    lines = output[output.index("val %") :].splitlines()
    return [" ".join(line.split()[:-1]) for line in lines[2:-1]]  # without the seconds


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("launcher", ["joblib", "ray"])
def test_sweep_side_by_side_is_the_one_of_one_job_after_the_other(
    launcher: str, run_train: RunTrain, tmp_path: Path
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher}_launcher")
    words = ("model=mlp", "epochs=1", "model.dropout=0.1,0.2,2.0")
    alone = run_train("-m", *SMALL, *words, folder="one")
    started = command(tmp_path / "two", *words, f"hydra/launcher={launcher}")
    together = subprocess.run(started, capture_output=True, text=True, timeout=500)
    assert (together.returncode, alone.status) == (2, 2), together.stderr
    assert table(together.stdout) == table(alone.output) != []
    assert "refzoo: 1 of 3 jobs failed: mlp_mnist_seed1_model.dropout=2.0.\n" in together.stderr
    for job in ("mlp_mnist_seed1_model.dropout=0.1", "mlp_mnist_seed1_model.dropout=0.2"):
        expected, found = (models.load(tmp_path / name / job).state_dict() for name in ("one", "two"))
        assert all((expected[key] == found[key]).all() for key in expected)


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="needs its signals")
def test_ctrl_c_saves_every_job_and_begins_no_other(tmp_path: Path) -> None:
    """Send SIGINT to all processes, as a terminal does, once both jobs have trained an epoch."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    words = command(tmp_path / "sweep", "model=softmax_regression", "epochs=900", "seed=1,2,3", *launcher)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0)
    while len(list((tmp_path / "sweep").glob("*/checkpoints/index.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 130, errors
    assert errors.count("refzoo: ") == 1
    assert f"Resume with: uv run train.py resume={tmp_path / 'sweep'}\n" in errors
    stopped = [json.loads(file.read_bytes()) for file in (tmp_path / "sweep").glob("*/metrics.json")]
    assert [each["status"] for each in stopped] == ["interrupted"] * 2


def test_sweepers_and_callbacks_of_hydra_get_the_validation_accuracy(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_hydra.py").write_text(
        "from hydra.experimental.callback import Callback\n"
        "returned = []\n"
        "class Record(Callback):\n"
        "    def on_job_end(self, config, job_return, **_): returned.append(job_return.return_value)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sweep = run_train("-m", *SMALL, "model=softmax_regression", "+hydra.callbacks.x._target_=my_hydra.Record")
    assert sweep.status == 0, sweep.errors
    (metrics,) = sweep.folder.glob("*/metrics.json")
    returned = sys.modules["my_hydra"].returned
    assert returned == [json.loads(metrics.read_bytes())["val"]["accuracy"]]
