"""Test resuming: an interrupted run gives bitwise the weights and the history of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT, SMALL_DENSENET, Run, RunTrain

import models
from launch import atomic
from training import checkpoint_files
from training.callbacks.interruption import Interruption

TIMES = ("train_seconds", "compile_seconds", "images_per_second")  # all that an interruption may change
STEPS = 3 * 6  # three epochs of 6 batches of 64 images

NETWORKS = {
    "lenet": ["model=lenet", "model.activation=relu"],
    "batch norm": [
        *SMALL_DENSENET,
        *("data.train_size=100", "batch_size=16"),
    ],
    "dropout": ["model=mlp", "model.dropout=0.5"],
    "gru": ["model=gru", "model.hidden_size=16"],
    "compiled": ["model=mlp", "model.dropout=0.5", "compile=true"],
    "all options": [
        *("model=mlp", "model.dropout=0.5", "optimizer=nesterov", "scheduler=cosine", "gradient_clip=1", "ema=0.9"),
        *(
            "select=best",
            "loss.label_smoothing=0.1",
            "loss.l1=1e-5",
            "data.augment.shift=2",
            "data.augment.rotation=10",
        ),
        *("data.augment.horizontal_flip=0.5", "data.augment.erasing=0.5", "data.augment.cutout=6"),
    ],
}


def outcome(run: Run) -> tuple[str, list[dict[str, str]], dict[str, Any]]:
    rows = [{key: value for key, value in row.items() if key not in TIMES} for row in run.rows]
    summary = {key: value for key, value in run.metrics.items() if key not in TIMES}
    return run.metrics["weights_sha256"], rows, summary


def interrupt_in_step(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send SIGINT while this step is computed."""

    def on_train_batch_start(self: Interruption, trainer: Any, *_: Any) -> None:
        if trainer.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Interruption, "on_train_batch_start", on_train_batch_start)


@pytest.fixture
def small(run_train: RunTrain) -> RunTrain:
    def run(*overrides: str, folder: str = "run") -> Run:
        sizes = ("data.train_size=400", "data.val_size=100", "data.test_size=100")
        return run_train(*sizes, "epochs=3", *overrides, folder=folder)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    network: str, small: RunTrain, resume: RunTrain, monkeypatch
) -> None:
    whole = small(*NETWORKS[network], folder="whole")
    assert whole.status == 0, whole.errors
    steps = {"all options": [1, 6, 7, 12, 18], "compiled": [8], "batch norm": [6, 7]}.get(network, [2, 6])
    for step in steps:
        with monkeypatch.context() as patch:
            interrupt_in_step(step, patch)
            stopped = small(*NETWORKS[network], folder=f"at{step}")
        assert stopped.status == 130
        assert f"resume={stopped.folder}" in stopped.errors
        assert stopped.metrics["status"] == "interrupted"
        resumed = resume(folder=f"at{step}")
        assert resumed.status == 0, resumed.errors
        assert outcome(resumed) == outcome(whole), step


def test_all_seconds_of_an_interrupted_epoch_are_counted_and_its_end_is_logged(
    small: RunTrain, resume: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep_and_stop(self: Interruption, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", sleep_and_stop)
        assert small("model=softmax_regression").status == 130
    resumed = resume()
    assert resumed.status == 0, resumed.errors
    images = 400 // 64 * 64
    assert 0 < int(resumed.rows[0]["images_per_second"]) <= images / 2 < int(resumed.rows[1]["images_per_second"])
    assert resumed.metrics["train_seconds"] >= 2
    assert "  stopped by SIGINT in epoch 1, after step 3\n" in (resumed.folder / "train.log").read_text()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("step", [2, 6, 8])
def test_run_resumed_on_a_gpu_is_close_to_an_uninterrupted_one(
    small: RunTrain, resume: RunTrain, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    settings = ("model=mlp", "model.dropout=0.5", "data.augment.shift=2", "trainer=gpu")
    whole = small(*settings, folder="whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(step, patch)
        assert small(*settings).status == 130
    resumed = resume()
    assert (whole.status, resumed.status) == (0, 0), resumed.errors
    expected, found = (models.load(run.folder).state_dict() for run in (whole, resumed))
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=1e-4, msg=key)  # a step moves a weight by 1e-3


@pytest.mark.slow
def test_run_interrupted_twice_equals_an_uninterrupted_one(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    whole = small(*NETWORKS["dropout"], folder="whole")
    for step in (4, 11):
        with monkeypatch.context() as patch:
            interrupt_in_step(step, patch)
            run = small(*NETWORKS["dropout"]) if step == 4 else resume()
        assert run.status == 130
    assert outcome(resume()) == outcome(whole)


def test_resuming_a_finished_run_prints_its_result_and_changes_nothing(small: RunTrain, resume: RunTrain) -> None:
    whole = small("model=softmax_regression")
    before = whole.contents
    again = resume()
    assert again.status == 0
    assert f"has finished its 3 epochs: test accuracy {whole.metrics['test']['accuracy']:.4f}" in again.output
    refused = resume("-m")
    assert (refused.status, "cannot be part of a sweep" in refused.errors) == (2, True)
    assert before == whole.contents


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "rmsprop", "adadelta", "adam"])
def test_optimizer_state_is_restored(optimizer: str, small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    settings = ("model=softmax_regression", f"optimizer={optimizer}", "epochs=2")
    whole = small(*settings, folder="whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(8, patch)
        assert small(*settings).status == 130
    assert outcome(resume()) == outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [("constant",), ("step", "scheduler.every=2")])
def test_run_is_extended_when_its_schedule_does_not_depend_on_epochs(
    schedule: tuple[str, ...], small: RunTrain, resume: RunTrain
) -> None:
    constant = ("model=softmax_regression", f"scheduler={schedule[0]}", *schedule[1:])
    longer = small(*constant, "epochs=5", folder="longer")
    small(*constant)
    more = resume("epochs=5")
    assert more.status == 0, more.errors
    assert outcome(more) == outcome(longer)
    refused = resume("epochs=4")
    assert (refused.status, "it cannot become 4" in refused.errors) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer.lr=0.5", "optimizer.lr was 0.003 in this run, it cannot become 0.5"),
        ("epochs=9", "epochs was 3 in this run, it cannot become 9 (the one_cycle schedule ends at 3)"),
        ("model=lenet", "model.name was softmax_regression in this run, it cannot become lenet"),
        ("seed=2", "seed was 1 in this run, it cannot become 2"),
        ("optimizer=sgd", "optimizer._target_ was torch.optim.AdamW in this run"),
    ],
)
def test_changed_setting_is_refused(small: RunTrain, resume: RunTrain, monkeypatch, override: str, says: str) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(3, patch)
        stopped = small("model=softmax_regression")
    before = stopped.contents
    refused = resume(override)
    assert (refused.status, refused.errors.count("\n")) == (2, 1)
    assert says in refused.errors
    assert before == stopped.contents
    assert resume("checkpoint.every_minutes=3").status == 0


@pytest.mark.slow
def test_run_whose_record_lacks_newer_settings_is_resumed(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(3, patch)
        stopped = small("model=softmax_regression")
    record = stopped.folder / "config.yaml"
    older = yaml.safe_load(record.read_text())
    del older["compile"], older["data"]["augment"]["shift"]
    record.write_text(yaml.safe_dump(older))
    refused = resume("compile=true")
    assert (refused.status, "compile was None in this run, it cannot become True" in refused.errors) == (2, True)
    assert resume().status == 0


def test_folder_without_a_run_is_refused(run_train: RunTrain, tmp_path: Path) -> None:
    refused = run_train(f"resume={tmp_path}")
    assert (refused.status, "is not a run folder" in refused.errors) == (2, True)


@pytest.mark.slow
def test_run_resumes_from_the_previous_checkpoint_when_the_newest_is_damaged(
    small: RunTrain, resume: RunTrain, monkeypatch
) -> None:
    whole = small(*NETWORKS["dropout"], folder="whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(15, patch)
        run = small(*NETWORKS["dropout"])
    index = json.loads((run.folder / "checkpoints/index.json").read_text())
    assert [entry["file"] for entry in index] == ["step_00000012.ckpt", "step_00000015.ckpt"]
    assert sorted(file.name for file in (run.folder / "checkpoints").glob("*.ckpt")) == [e["file"] for e in index]
    newest = run.folder / "checkpoints" / index[-1]["file"]
    assert checkpoint_files.newest(run.folder / "checkpoints") == newest
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    resumed = resume()
    assert "step_00000015.ckpt is damaged" in resumed.output
    assert "Using the one before it" in resumed.output
    files = [e["file"] for e in json.loads((run.folder / "checkpoints/index.json").read_text())]
    assert files == ["step_00000012.ckpt", "step_00000018.ckpt"]
    assert outcome(resumed) == outcome(whole)


def test_run_with_only_damaged_checkpoints_exits_with_status_4(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(15, patch)
        run = small("model=softmax_regression")
    for file in (run.folder / "checkpoints").glob("*.ckpt"):
        file.write_bytes(b"")
    refused = resume()
    assert (refused.status, "no checkpoint in" in refused.errors) == (4, True)
    (run.folder / "checkpoints/index.json").write_text("[{]")
    refused = resume()
    assert (refused.status, "index.json is damaged" in refused.errors) == (4, True)


@pytest.mark.slow
def test_checkpoint_of_another_network_is_refused(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(15, patch)
        run = small("model=softmax_regression")
        other = small("model=mlp", folder="other")
    for file in (run.folder / "checkpoints").iterdir():
        file.write_bytes((other.folder / "checkpoints" / file.name).read_bytes())
    before = [(run.folder / name).read_bytes() for name in ("metrics.csv", "metrics.json")]
    refused = resume()
    assert before == [(run.folder / name).read_bytes() for name in ("metrics.csv", "metrics.json")]
    assert (refused.status, refused.errors.count("\n")) == (4, 1), refused.errors
    assert "another network" in refused.errors


@pytest.mark.slow
def test_checkpoints_are_kept_when_a_resumed_run_is_interrupted_while_loading(small, resume, monkeypatch) -> None:
    whole = small(*NETWORKS["dropout"], folder="whole")
    with monkeypatch.context() as patch:
        interrupt_in_step(4, patch)
        run = small(*NETWORKS["dropout"])
    before = sorted(file.name for file in (run.folder / "checkpoints").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "setup", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        again = resume()
    assert again.status == 143
    assert before == sorted(file.name for file in (run.folder / "checkpoints").iterdir())
    assert outcome(resume()) == outcome(whole)


@pytest.mark.slow
def test_damaged_file_of_a_run_folder_is_named(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_in_step(4, patch)
        run = small("model=softmax_regression")
    for name in ("config.yaml", ".hydra/overrides.yaml"):
        content = (run.folder / name).read_bytes()
        for damaged in (b"", b"{", b"\xff\xfe\x00"):
            (run.folder / name).write_bytes(damaged)
            refused = resume()
            assert (refused.status, f"{name} is damaged" in refused.errors) == (4, True), refused.errors
        (run.folder / name).write_bytes(content)
    assert resume().status == 0


@pytest.mark.slow
def test_run_folder_is_locked_while_a_process_writes_it(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    from launch.run_dir import RunDir

    with monkeypatch.context() as patch:
        interrupt_in_step(3, patch)
        stopped = small("model=softmax_regression")
    with RunDir(stopped.folder):  # locks belong to an open file: this equals another process
        refused = resume()
    assert (refused.status, "another process is writing" in refused.errors) == (2, True)
    assert resume().status == 0


@pytest.mark.slow
def test_saved_checkpoints_survive_a_full_disk(small: RunTrain, resume: RunTrain, monkeypatch) -> None:
    whole = small(*NETWORKS["dropout"], folder="whole")
    write = atomic.write

    def full(path: Path, content: Any) -> None:
        if path.name == "step_00000018.ckpt":
            path.with_name(f".{path.name}.partial").write_bytes(bytes(content)[:100])
            path.with_name(f".{path.name}.partial").unlink()
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write", full)
        failed = small(*NETWORKS["dropout"])
    assert failed.status == 5
    assert failed.errors.startswith("refzoo: No space left on device")
    assert failed.metrics["status"] == "failed"
    assert outcome(resume()) == outcome(whole)


def test_too_little_disk_space_is_refused_before_training(small: RunTrain, monkeypatch) -> None:
    import shutil

    usage = type("usage", (), {"free": 1_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused = small("model=softmax_regression")
    assert (refused.status, "0 MB free, this run needs" in refused.errors) == (5, True)


def test_non_finite_loss_keeps_the_last_good_checkpoint(small: RunTrain, monkeypatch) -> None:
    from training.module import ClassificationModule

    step = ClassificationModule.training_step

    def poisoned(self: ClassificationModule, batch: Any, batch_idx: int) -> Any:
        images, labels = batch
        return step(self, (images * float("nan") if self.global_step == 9 else images, labels), batch_idx)

    monkeypatch.setattr(ClassificationModule, "training_step", poisoned)
    failed = small("model=softmax_regression")
    assert failed.status == 1
    assert "the loss became nan in epoch 2, batch 4. Try a smaller optimizer.lr" in failed.errors
    assert failed.metrics["status"] == "failed"
    newest = checkpoint_files.newest(failed.folder / "checkpoints")
    assert newest is not None
    assert newest.name == "step_00000006.ckpt"
    state = checkpoint_files.CheckpointFiles().load_checkpoint(newest)["state_dict"]
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


def processes(folder: Path) -> Iterator[subprocess.Popen]:
    """Yield a process that trains, then processes that resume it."""
    command = [sys.executable, str(ROOT / "train.py"), *NETWORKS["dropout"], "epochs=20", "trainer=cpu"]
    command += ["data.train_size=640", "data.val_size=200", "batch_size=64", "checkpoint.every_minutes=0.0001"]
    yield subprocess.Popen([*command, f"run_dir={folder}"], env=os.environ | {"OMP_NUM_THREADS": "1"})
    while True:
        yield subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), f"resume={folder}"], env=os.environ | {"OMP_NUM_THREADS": "1"}
        )


@pytest.mark.slow
@pytest.mark.thorough
def test_run_killed_at_random_moments_equals_an_uninterrupted_one(
    run_train: RunTrain, resume: RunTrain, tmp_path: Path
) -> None:
    """Send SIGKILL twice while steps are computed and files are written, then let the run finish."""
    torch.set_num_threads(1)
    settings = [*NETWORKS["dropout"], "epochs=20", "data.train_size=640", "data.val_size=200"]
    whole = run_train(*settings, "checkpoint.every_minutes=0.0001", folder="whole")
    moment, folder, kills = random.Random(5), tmp_path / "run", 0
    for process in processes(folder):
        checkpoint_folder = folder / "checkpoints"
        before = {file.name for file in checkpoint_folder.glob("*.ckpt")} if checkpoint_folder.exists() else set()
        while process.poll() is None and {file.name for file in checkpoint_folder.glob("*.ckpt")} <= before:
            time.sleep(0.01)  # until it has written a new checkpoint
        time.sleep(moment.uniform(0, 0.5))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        if process.returncode == 0 or kills == 2:
            break
    assert kills == 2
    assert resume().status == 0
    assert outcome(Run(0, "", "", folder)) == outcome(whole)
