"""Test train.py: the files of a run folder, its reproducibility, its exit statuses and its messages."""

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, Run, RunTrain
from torchmetrics.functional.classification import multiclass_accuracy

import data
import models
from data.batches import Preprocess


def test_run_folder_holds_weights_metrics_configuration_and_log(run_train: RunTrain) -> None:
    run = run_train("optimizer.lr=0.01", "model.activation=relu", "seed=3")
    assert run.status == 0, run.errors
    assert run.errors == ""

    lines = run.output.splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == ["epoch 1/2", "epoch 2/2"]
    assert max(map(len, lines[:-1])) <= 80
    test = run.metrics["test"]
    assert lines[-1].startswith(f"lenet on mnist: test accuracy {test['accuracy']:.4f} (10000 images), 2 epochs in ")
    assert lines[-1].endswith(f"-> {run.folder}")
    assert [line.split("  ", 1)[1] for line in (run.folder / "train.log").read_text().splitlines()] == lines

    metrics = run.metrics
    expected = {"model": "lenet", "data": "mnist", "seed": 3, "epochs": 2, "image_size": 28, "parameters": 44_426}
    assert expected.items() <= metrics.items()
    assert metrics["device"] == "cpu"
    assert metrics["precision"] == "32-true"
    assert metrics["status"] == "finished"
    assert metrics["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert [metrics[split]["images"] for split in ("train", "val", "test")] == [576, 400, 10_000]
    weights = (run.folder / "weights.safetensors").read_bytes()
    assert metrics["weights_sha256"] == hashlib.sha256(weights).hexdigest()

    rows = run.rows
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second"} < set(
        rows[0]
    )
    assert float(rows[1]["train_loss"]) == metrics["train"]["loss"] < float(rows[0]["train_loss"])
    assert float(rows[1]["val_accuracy"]) == pytest.approx(metrics["val"]["accuracy"], abs=1e-6)
    assert float(rows[1]["learning_rate"]) < 1e-3 < float(rows[0]["learning_rate"])  # decreased by one_cycle

    config = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert config["model"]["activation"] == "relu"
    assert config["model"]["image_size"] == 28
    assert "optimizer.lr=0.01" in yaml.safe_load((run.folder / ".hydra/overrides.yaml").read_text())
    assert list((run.folder / "checkpoints").iterdir())
    assert not list(run.folder.rglob(".*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"),
    [("lenet model.activation=relu", "mnist"), ("mlp", "fashion_mnist"), ("softmax_regression", "mnist")],
)
def test_stored_weights_have_the_recorded_metrics(run_train: RunTrain, model: str, name: str) -> None:
    """Compute the metrics again from the file and the data, by torchmetrics and torch's own loss."""
    run = run_train(*f"model={model}".split(), f"data={name}", "optimizer.lr=0.01")
    assert run.status == 0, run.errors
    network, card = models.load(run.folder), models.card(run.folder)
    assert card["input"] == {"channels": 1, "image_size": 28, "mean": data.DATASETS[name].mean[0]} | {
        "std": data.DATASETS[name].std[0]
    }
    assert card["classes"] == list(data.DATASETS[name].classes)
    splits = data.load(name, val_size=400)
    for split, images in (("val", splits.val), ("test", splits.test)):
        assert images is not None
        with torch.no_grad():
            logits = network(Preprocess(splits.info.mean, splits.info.std, (28, 28))(images.images))
        recorded = run.metrics[split]
        assert recorded == card["metrics"][split]
        assert recorded["images"] == len(images.labels)
        accuracy = multiclass_accuracy(logits, images.labels, num_classes=10, average="micro")
        assert recorded["accuracy"] == pytest.approx(accuracy.item(), abs=1e-6)
        loss = torch.nn.functional.cross_entropy(logits, images.labels)
        assert recorded["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert run.metrics["test"]["accuracy"] > 0.3  # better than chance


@pytest.mark.slow
def test_same_command_gives_bitwise_equal_weights(run_train: RunTrain) -> None:
    command = ("model=mlp", "model.dropout=0.5", "seed=4")
    runs = [run_train(*command, folder="a"), run_train(*command, folder="b"), run_train(*command[:2], folder="c")]
    first, again, other_seed = (run.metrics["weights_sha256"] for run in runs)
    assert first == again != other_seed
    tables = [(run.folder / "metrics.csv").read_text().splitlines() for run in runs]
    assert [row.rpartition(",")[0] for row in tables[0]] == [row.rpartition(",")[0] for row in tables[1]]


@pytest.mark.slow
def test_gradient_clipping_changes_the_weights(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect no error under bf16-mixed either, where the optimizer is fused."""
    settings = ("model=softmax_regression", "epochs=1")
    free, wide, narrow = (
        models.load(run_train(*settings, f"gradient_clip={norm}", folder=norm).folder).state_dict()["output.weight"]
        for norm in ("null", "1e6", "0.1")
    )
    assert torch.equal(free, wide)
    assert not torch.equal(free, narrow)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    mixed = run_train(*settings, "gradient_clip=0.1", "precision=bf16-mixed", folder="mixed")
    assert mixed.status == 0, mixed.errors


@pytest.mark.slow
def test_training_without_validation_uses_all_images(run_train: RunTrain) -> None:
    run = run_train("data.val_size=0", "model=softmax_regression", "data.train_size=60000", "epochs=1")
    assert run.status == 0, run.errors
    assert run.metrics["val"] is None
    assert run.metrics["train"]["images"] == 60_000 // 64 * 64
    assert "validation" not in run.output
    assert run.metrics["test"]["accuracy"] > 0.85


def test_non_finite_loss_fails_the_run(run_train: RunTrain) -> None:
    run = run_train("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "model.activation=relu")
    assert run.status == 1
    assert run.errors.startswith("refzoo: the loss became ")
    assert "in epoch 1, batch 2" in run.errors or "in epoch 1, batch 3" in run.errors
    assert len(run.errors.splitlines()) == 1
    assert run.metrics["status"] == "failed"
    assert not (run.folder / "weights.safetensors").exists()


def test_network_with_a_non_finite_loss_is_not_stored(run_train: RunTrain) -> None:
    settings = ("optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant", "model.activation=relu", "data.val_size=0")
    run = run_train(*settings, "epochs=1", "data.train_size=64")  # the one step's loss is finite, the network's is not
    assert (run.status, run.metrics["status"]) == (1, "failed")
    assert "the trained network's loss is nan" in run.errors
    assert not (run.folder / "weights.safetensors").exists()


def test_run_folder_that_holds_other_files_is_refused(run_train: RunTrain, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("mine")
    refused = run_train()
    assert (refused.status, "already holds files. Choose another folder." in refused.errors) == (2, True)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["mine"]


def test_run_folder_that_holds_a_run_is_refused(run_train: RunTrain) -> None:
    first = run_train("epochs=1", "model=softmax_regression")
    before = first.contents
    second = run_train("epochs=1")
    assert second.status == 2
    assert "already holds" in second.errors
    assert before == first.contents


@pytest.mark.parametrize(
    ("overrides", "status", "says"),
    [
        (["+optimizer.foo=1"], 2, "unexpected keyword argument 'foo'"),
        (["optimizer=sgd", "+optimizer.maximize=yes"], 2, "optimizer or scheduler: "),
        (["data.root=/nonexistent"], 3, "there is neither /nonexistent/MNIST/raw/train-images-idx3-ubyte"),
        (["data.root="], 2, "data.root= is not valid"),
        (["trainer.devices=2"], 2, "trainer.devices=2 needs several processes"),
        (["precision=16-mixed"], 5, "precision=16-mixed needs a CUDA GPU"),
        (["compile=yes please"], 2, "compile=yes please is not valid"),
        (["run_dir=/dev/null/run"], 5, "/dev/null/run cannot be written"),
    ],
)
def test_invalid_run_creates_no_folder(run_train: RunTrain, overrides: list[str], status: int, says: str) -> None:
    run = run_train(*overrides)
    assert run.status == status
    assert says in run.errors
    assert run.errors.startswith("refzoo: ")
    assert len(run.errors.splitlines()) == 1
    assert not run.folder.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_missing_gpu_exits_with_status_5(run_train: RunTrain) -> None:
    run = run_train("trainer=gpu")
    assert (run.status, run.errors.startswith("refzoo: there is no CUDA GPU")) == (5, True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_run_trains_on_a_gpu(run_train: RunTrain) -> None:
    run = run_train("trainer=gpu", "optimizer.lr=0.01", "model.activation=relu")
    assert run.status == 0, run.errors
    assert run.metrics["device"].startswith("cuda (")
    assert run.metrics["test"]["accuracy"] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_interrupts_the_run_between_two_batches(tmp_path: Path, number: int, status: int) -> None:
    command = [sys.executable, str(ROOT / "train.py"), "epochs=9999", f"run_dir={tmp_path / 'run'}"]
    command += ["data.train_size=600", "model=softmax_regression", "trainer=cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    rows = tmp_path / "run/metrics.csv"
    while process.poll() is None and not (rows.exists() and len(rows.read_text().splitlines()) > 2):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors.startswith(f"refzoo: stopped by {signal.Signals(number).name} ")
    assert len(errors.splitlines()) == 1
    assert Run(status, "", errors, tmp_path / "run").metrics["status"] == "interrupted"


class BrokenPipe(io.StringIO):
    """Raise as a closed terminal does, or a pipe without a reader."""

    def write(self, text: str) -> int:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))


@pytest.mark.parametrize("stdout", [None, BrokenPipe()], ids=["closed", "gone"])
def test_run_finishes_when_standard_output_is_closed(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout)
    run = run_train("model=softmax_regression", "epochs=1")
    sys.stdout.close()
    assert (run.status, run.errors) == (0, "")
    assert "test accuracy" in (run.folder / "train.log").read_text()
