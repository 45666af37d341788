"""Test distributed runs: several processes train, measure, stop and resume together, and equal one process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, SMALL_DENSENET, Run, RunTrain
from safetensors.torch import load_file

from launch import errors
from launch.overrides import complete

TRAIN, DDP = [sys.executable, str(ROOT / "train.py")], ["trainer=ddp", "trainer.accelerator=cpu", "report=false"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "train.py")]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Return a function that sets torchrun's variables for process 0 of `world`, `local_world` on each machine."""

    def ranks(world: int, local_world: int) -> None:
        values = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": local_world}
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return ranks


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer=cpu"], "trainer=ddp trainer.devices=2 trainer.num_nodes=2"),
        (["trainer=ddp"], "4 processes were started, 2 on each machine, the configuration has 2."),
        (["trainer=ddp", "trainer.devices=4"], "the configuration has 4."),
    ],
)
def test_number_of_started_processes_must_match_the_configuration(
    run_train: RunTrain, environment: Callable[[int, int], None], overrides: list[str], says: str
) -> None:
    environment(4, 2)
    refused = run_train(*overrides)
    assert (refused.status, says in refused.errors, refused.folder.exists()) == (2, True, False), refused.errors


def test_invalid_rank_variable_is_refused(run_train: RunTrain, environment, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(2, 2)
    monkeypatch.setenv("RANK", "first")
    refused = run_train()
    assert (refused.status, refused.errors.count("\n")) == (2, 1)
    assert "'RANK': 'first'" in refused.errors


def test_slurm_variables_alone_start_no_distributed_run(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_JOB_NAME", "sweep")
    run = run_train("model=softmax_regression", "epochs=1")
    assert (run.status, run.metrics["processes"]) == (0, 1), run.errors


def test_sweep_under_torchrun_is_refused(environment: Callable[[int, int], None], tmp_path: Path) -> None:
    environment(2, 2)
    with pytest.raises(errors.SettingsError, match="torchrun starts one run"):
        complete(["-m", "seed=1,2", "trainer=ddp"], tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_interrupted_killed_and_resumed_ddp_run_equals_a_run_of_one_process(
    run_train: RunTrain, tmp_path: Path, monkeypatch
) -> None:
    """Interrupt and resume two processes, kill one of them, and finish in one process."""
    settings = ["model=mlp", "model.hidden_sizes=[16]", "optimizer=momentum", "epochs=8", "batch_size=32"]
    settings += ["ema=0.9", "select=best", "gradient_clip=2", "loss.l1=1e-5", "loss.label_smoothing=0.1"]
    settings += ["data.augment.shift=2", "data.augment.rotation=10", "data.augment.erasing=0.5"]
    settings += ["data.train_size=3200", "data.val_size=401", "data.test_size=300"]
    one, two = run_train(*settings, folder="one"), Run(0, "", "", tmp_path / "two")

    def run_until_epoch(epoch: int, *arguments: str) -> subprocess.Popen[str]:
        """Start train.py and return when this epoch has ended."""
        command, own = [*TRAIN, f"{arguments[0]}={two.folder}", *arguments[1:]], os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert any(line.startswith(f"epoch {epoch}/8") for line in process.stdout), process.communicate()
        time.sleep(0.1)
        return process

    stopped = run_until_epoch(2, "run_dir", *settings, *DDP)
    stopped.send_signal(signal.SIGTERM)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 143, said
    assert said.startswith("refzoo: stopped by SIGTERM ")
    assert len(said.splitlines()) == 1
    assert (two.metrics["status"], two.metrics["processes"]) == ("interrupted", 2)

    killed = run_until_epoch(5, "resume")
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", f"{killed.pid}"], capture_output=True, text=True, check=True
    )
    _, second = sorted(map(int, listing.stdout.split()))
    os.kill(second, signal.SIGKILL)
    _, said = killed.communicate(timeout=60)
    assert killed.returncode == errors.STATUS[errors.ProcessLost], said
    assert said.startswith("refzoo: another process of this run died. Resume with:")
    assert len(said.splitlines()) == 1

    arguments = [f"resume={two.folder}", "trainer=cpu"]
    monkeypatch.setattr("train.complete", lambda _, runs: complete(arguments, runs))
    last = run_train()
    assert (last.status, two.metrics["processes"]) == (0, 1), last.errors
    for split in ("train", "val", "test"):
        assert two.metrics[split] == pytest.approx(one.metrics[split], abs=2e-6), split
    assert two.metrics["epoch"] == one.metrics["epoch"]
    for here, there in zip(one.rows, two.rows, strict=True):
        for column in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert float(here[column]) == pytest.approx(float(there[column]), abs=2e-6), (here, there)
    torch.testing.assert_close(
        load_file(two.folder / "weights.safetensors"), load_file(one.folder / "weights.safetensors"), rtol=0, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.thorough
def test_torchrun_writes_one_run_folder_with_correct_metrics(tmp_path: Path) -> None:
    """Train a network with batch norm, and measure the stored weights again."""
    from data import load
    from models import cards
    from models.weights import load_network
    from training import evaluation

    settings = [*SMALL_DENSENET, "epochs=2", "precision=32-true"]
    settings += ["batch_size=16", "data.train_size=100", "data.val_size=130", "data.test_size=50"]
    folder = tmp_path / "runs/run"
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*TORCHRUN, *settings, *DDP, f"run_dir={folder}"], env=own, capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 3), done.stderr
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    run = Run(0, "", "", folder)
    (_, last) = run.rows
    splits, file = load("mnist", train_size=100, val_size=130, test_size=50), cards.read(str(folder))
    network, preprocess = load_network(file), evaluation.preprocess_of(file.card)
    assert splits.val
    val = evaluation.compute_metrics(evaluation.predict_logits(network, splits.val, preprocess), splits.val.labels)
    test = evaluation.compute_metrics(evaluation.predict_logits(network, splits.test, preprocess), splits.test.labels)
    assert (float(last["val_loss"]), float(last["val_accuracy"])) == pytest.approx((val["loss"], val["accuracy"]), 1e-5)
    assert (run.metrics["val"], run.metrics["test"]) == (pytest.approx(val, 1e-6), pytest.approx(test, 1e-6))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_equal_one(run_train: RunTrain, tmp_path: Path) -> None:
    settings = ["model=mlp", "optimizer=momentum", "data.train_size=640", "data.val_size=201", "data.test_size=100"]
    one, two = run_train(*settings, "trainer=gpu", folder="one"), Run(0, "", "", tmp_path / "two")
    command = [*TRAIN, *settings, "trainer=ddp", "epochs=2", "batch_size=64", "report=false", f"run_dir={two.folder}"]
    subprocess.run(command, check=True, timeout=300)
    assert (two.metrics["processes"], two.metrics["device"]) == (2, one.metrics["device"])
    torch.testing.assert_close(
        load_file(two.folder / "weights.safetensors"), load_file(one.folder / "weights.safetensors"), rtol=0, atol=1e-4
    )
