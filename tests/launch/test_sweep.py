"""Test sweeps: they continue after failed jobs, write one table of results, and are resumed as a whole."""

import csv
import gc
import json
import os
import shutil
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run, RunTrain

import train
from launch.sweep import Outcome, Sweep
from reports import sweep_summary
from training.callbacks.interruption import Interruption
from training.module import ClassificationModule

JOBS = ("model=softmax_regression", "data.test_size=300", "epochs=1")


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def resume(
    value: Path | str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *overrides: str
) -> Run:
    monkeypatch.setattr(sys, "argv", ["train.py", f"resume={value}", *overrides])
    capfd.readouterr()
    status = train.main()
    output, errors = capfd.readouterr()
    return Run(status, output, errors, Path(value))


@pytest.mark.slow
def test_summary_holds_mean_and_standard_deviation_over_seeds(run_train: RunTrain) -> None:
    run = run_train("-m", *JOBS, "optimizer.lr=1e-4,1e-2", "seed=1,2,3")
    assert run.status == 0, run.errors
    name = "softmax_regression_mnist_seed{}_optimizer.lr={}"
    with (run.folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["optimizer.lr"] for row in rows] == ["0.01", "0.0001"]  # sorted by validation accuracy
    content = json.loads((run.folder / "sweep.json").read_text())
    assert len(content["jobs"]) == 6
    assert content["failed"] == []
    for row, as_json in zip(rows, content["rows"], strict=True):
        measured = [metrics(run.folder / name.format(seed, row["optimizer.lr"])) for seed in (1, 2, 3)]
        assert [each["seed"] for each in measured] == [1, 2, 3]
        assert row["runs"] == "3"
        for split in ("val", "test"):
            accuracies = np.array([each[split]["accuracy"] for each in measured])
            assert float(row[f"{split}_accuracy_mean"]) == pytest.approx(accuracies.mean(), abs=1e-6)
            assert float(row[f"{split}_accuracy_sd"]) == pytest.approx(accuracies.std(ddof=1), abs=1e-6)
            shown = f"{100 * accuracies.mean():.2f} ± {100 * accuracies.std(ddof=1):.2f}"
            assert any(line.startswith(row["optimizer.lr"]) and shown in line for line in run.output.splitlines())
        assert {key: str(value) for key, value in as_json.items()} == row


@pytest.mark.slow
def test_sweep_continues_after_a_failed_job(run_train: RunTrain) -> None:
    run = run_train("-m", *JOBS, "optimizer=sgd", "scheduler=constant", "optimizer.lr=-1,1e38,0.1")
    assert run.status == 2  # of 2, 1 and 0
    assert metrics(run.folder / "softmax_regression_mnist_seed1_optimizer.lr=0.1")["status"] == "finished"
    assert metrics(run.folder / "softmax_regression_mnist_seed1_optimizer.lr=1e38")["status"] == "failed"
    last = run.errors.splitlines()[-1]
    name = "softmax_regression_mnist_seed1_optimizer.lr="
    assert last == f"refzoo: 2 of 3 jobs failed: {name}-1, {name}1e38."
    content = json.loads((run.folder / "sweep.json").read_text())
    assert [each["status"] for each in content["failed"]] == [2, 1]
    counts = [(row["optimizer.lr"], row["runs"], row["unfinished"]) for row in content["rows"]]
    assert counts == [("0.1", 1, 0), ("1e+38", 0, 1)]


@pytest.mark.slow
def test_resumed_sweep_runs_only_the_unfinished_jobs(run_train: RunTrain, monkeypatch, capfd) -> None:
    sweep = ("-m", *JOBS, "epochs=2", "seed=1,2,3")
    whole = run_train(*sweep, folder="whole")

    def on_train_batch_start(self: Interruption, trainer: Any, *_: Any) -> None:
        if self.folder.name.endswith("seed2") and trainer.global_step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", on_train_batch_start)
        stopped = run_train(*sweep)
    assert stopped.status == 130
    assert stopped.errors.splitlines()[-1].endswith(f"Resume with: uv run train.py resume={stopped.folder}")
    jobs = [stopped.folder / f"softmax_regression_mnist_seed{seed}" for seed in (1, 2, 3)]
    assert [metrics(job)["status"] for job in jobs[:2]] == ["finished", "interrupted"]
    assert not jobs[2].exists()
    before = {file: file.read_bytes() for file in jobs[0].rglob("*") if file.is_file()}

    resumed = resume(stopped.folder, monkeypatch, capfd)
    assert resumed.status == 0, resumed.errors
    assert before == {file: file.read_bytes() for file in jobs[0].rglob("*") if file.is_file()}
    assert [metrics(job)["weights_sha256"] for job in jobs] == [
        metrics(whole.folder / job.name)["weights_sha256"] for job in jobs
    ]
    assert "seed1 has finished its 2 epochs" in resumed.output
    assert len(json.loads((stopped.folder / "sweep.json").read_text())["jobs"]) == 3

    refused = run_train(*sweep)
    assert (refused.status, f"resume it with resume={stopped.folder}" in refused.errors) == (2, True)


@pytest.mark.parametrize("wrong", ["model=mlp,lente", "optimizer.lr=", "epoch=1,2", "epochs=0,-1", "seed=1,[2"])
def test_invalid_sweep_creates_no_folder(run_train: RunTrain, wrong: str) -> None:
    refused = run_train("-m", wrong)
    assert refused.status == 2
    assert refused.errors
    assert all(line.startswith("refzoo: ") for line in refused.errors.splitlines())
    assert not refused.folder.exists()


@pytest.mark.parametrize("argument", ["hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "run_dir=a,b"])
def test_hydra_overrides_and_several_run_dirs_are_refused(run_train: RunTrain, argument: str) -> None:
    refused = run_train("-m", argument)
    assert (refused.status, len(refused.errors.splitlines())) == (2, 1)


def test_sweep_folder_that_cannot_be_created_exits_with_status_5(run_train: RunTrain) -> None:
    refused = run_train("-m", "run_dir=/dev/null/sweep")
    assert (refused.status, "/dev/null/sweep cannot be written" in refused.errors) == (5, True)


@pytest.mark.slow
def test_refused_change_of_a_resumed_sweep_has_no_later_effect(run_train: RunTrain, monkeypatch, capfd) -> None:
    sweep = run_train("-m", *JOBS, "scheduler=constant", "optimizer.lr=1e-3,1e-2", "seed=1,2").folder
    refused = resume(sweep, monkeypatch, capfd, "batch_size=32")
    assert (refused.status, "batch_size=32 would change a sweep that has started" in refused.errors) == (2, True)
    for override in ("ema=0.9,0.99", "epochs=2,3"):
        refused = resume(sweep, monkeypatch, capfd, override)
        assert (refused.status, f"{override} would change a sweep that has started" in refused.errors) == (2, True)
    refused = resume(sweep, monkeypatch, capfd, "seed=-1")
    assert (refused.status, "seed=-1 is not valid" in refused.errors) == (2, True)
    again = resume(sweep, monkeypatch, capfd)
    assert again.status == 0, again.errors
    assert again.output.count("has finished its 1 epoch:") == 4

    shutil.rmtree(sweep / "softmax_regression_mnist_seed2_optimizer.lr=0.01")
    (sweep / "softmax_regression_mnist_seed1_optimizer.lr=0.001/.hydra/overrides.yaml").write_text("")
    repaired = resume(sweep, monkeypatch, capfd, "checkpoint.every_minutes=1")
    assert repaired.status == 0, repaired.errors
    assert "seed1_optimizer.lr=0.001 is damaged, and left out of the table" in repaired.errors
    rows = json.loads((sweep / "sweep.json").read_text())["rows"]
    assert [(row["optimizer.lr"], row["runs"]) for row in rows] == [("0.01", 2), ("0.001", 1)]


@pytest.mark.slow
def test_run_starts_in_the_folder_of_a_job_that_died_at_its_start(run_train: RunTrain) -> None:
    job = run_train("-m", *JOBS, "seed=1").folder / "softmax_regression_mnist_seed1"
    assert job.exists()
    for leftover in (".lock", "train.log", ".config.yaml.partial", ".hydra/overrides.yaml"):
        begun = job.parent.parent / f"begun{leftover[:3]}"
        (begun / leftover).parent.mkdir(parents=True)
        (begun / leftover).touch()
        assert run_train(*JOBS, f"run_dir={begun}", folder=begun.name).status == 0


def test_resume_last_finds_the_sweep_of_the_latest_run(tmp_path: Path) -> None:
    from launch.resume import find

    for job in ("sweep_1/a", "sweep_1/b", "alone"):
        (tmp_path / job / ".hydra").mkdir(parents=True)
        (tmp_path / job / "config.yaml").touch()
        (tmp_path / job / ".hydra/overrides.yaml").touch()
    (tmp_path / "sweep_1/sweep.yaml").touch()
    os.utime(tmp_path / "alone/config.yaml", (1, 1))
    assert find("last", tmp_path) == tmp_path / "sweep_1"
    assert find(str(tmp_path / "sweep_1/a"), tmp_path) == tmp_path / "sweep_1/a"
    os.utime(tmp_path / "alone/config.yaml", (2e9, 2e9))
    assert find("last", tmp_path) == tmp_path / "alone"


def test_outcomes_of_jobs_in_other_processes_are_counted(run_train: RunTrain, tmp_path: Path, capfd) -> None:
    folder = run_train("-m", *JOBS, "seed=1").folder
    (folder / "sweep.csv").unlink()
    for outcome in (Outcome("first", 0, ""), Outcome("second", 2, "optimizer.lr=-1 is not valid")):
        outcome.send(folder)
    sweep = Sweep(folder, [], ["seed"], resumed=False)
    outcomes = sweep.collect()
    sweep.close(outcomes)
    sweep_summary.write(sweep, outcomes)
    assert [outcome.status for outcome in outcomes] == [0, 2]
    assert capfd.readouterr().err == "refzoo: 1 of 2 jobs failed: second.\n"
    assert json.loads((folder / "sweep.json").read_text())["failed"] == [outcomes[1]._asdict()]
    assert (folder / "sweep.csv").exists()
    assert not any(file.name.startswith(".") for file in folder.iterdir())


@pytest.mark.slow
def test_memory_of_a_finished_job_is_freed(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[weakref.ref[ClassificationModule]] = []
    start = ClassificationModule.on_train_start

    def on_train_start(self: ClassificationModule) -> None:
        assert [task() for task in tasks] == [None] * len(tasks)  # while the next job runs
        tasks.append(weakref.ref(self))
        start(self)

    monkeypatch.setattr(ClassificationModule, "on_train_start", on_train_start)
    assert run_train("-m", *JOBS, "seed=1,2,3", "ema=0.9", "select=best").status == 0
    assert len(tasks) == 3
    gc.collect()
    assert tasks[-1]() is None
