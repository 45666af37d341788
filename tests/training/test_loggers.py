"""Test what loggers get, read back by their own libraries: one logged run for each run, also resumed or in a sweep."""

import csv
import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Run, RunTrain
from lightning.pytorch.loggers.logger import DummyLogger

from launch.configuration import composed
from launch.run_dir import RunDir
from training import loggers
from training.callbacks.interruption import Interruption
from training.loggers import opened

SETTINGS = ("model=softmax_regression", "epochs=3", "data.test_size=300", "report=true")
COLUMNS = {"train/loss": "train_loss", "val/accuracy": "val_accuracy", "learning_rate": "learning_rate"}

BLOCK = 32768  # bytes

Resumed = Callable[[str], Run]


@pytest.fixture
def resumed(run_train: RunTrain, resume: RunTrain, monkeypatch: pytest.MonkeyPatch) -> Resumed:
    """Run with a logger, stop in the second epoch, resume with a setting that may change, and finish."""

    def run(logger: str) -> Run:
        def stop(_, trainer: Any, *__: Any) -> None:
            if trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Interruption, "on_train_batch_start", stop, raising=False)
            assert run_train(*SETTINGS, f"logger={logger}").status == 130
        finished = resume("checkpoint.every_minutes=5")
        assert finished.status == 0, finished.errors
        return finished

    return run


def assert_history(run: Run, found: dict[str, list[float]]) -> None:
    """Compare what was logged of each epoch with metrics.csv, and the last figures with metrics.json."""
    for name, column in COLUMNS.items():
        expected = [float(row[column]) for row in run.rows]
        if name == "val/accuracy":
            expected.append(run.metrics["val"]["accuracy"])
        assert found[name] == pytest.approx(expected, abs=1e-5), name
    for split in ("val", "test"):
        for figure in ("loss", "accuracy"):
            assert found[f"{split}/{figure}"][-1] == pytest.approx(run.metrics[split][figure], abs=1e-5)
    assert len(found["test/accuracy"]) == 1


def test_csv_has_every_epoch_and_the_result(resumed: Resumed) -> None:
    run = resumed("csv")
    with (run.folder / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert_history(run, {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]})
    assert "activation" not in (settings := (run.folder / "csv" / "hparams.yaml").read_text())
    assert "softmax_regression" in settings


def test_tensorboard_has_the_settings_every_epoch_and_the_result(resumed: Resumed) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.plugins.hparams import plugin_data_pb2

    run = resumed("tensorboard")
    read = accumulators.EventAccumulator(str(run.folder / "tensorboard"))
    read.Reload()
    assert_history(run, {tag: [event.value for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]})
    assert "hp_metric" not in read.Tags()["scalars"]
    start = plugin_data_pb2.HParamsPluginData.FromString(  # pyright: ignore[reportAttributeAccessIssue]
        read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    assert start.session_start_info.hparams["optimizer/_target_"].string_value == "torch.optim.AdamW"
    assert start.session_start_info.hparams["seed"].number_value == 1


@pytest.mark.filterwarnings("ignore")  # of SQLAlchemy
def test_mlflow_has_the_settings_every_epoch_the_result_and_the_report(resumed: Resumed) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run = resumed("mlflow")
    client = tracking.MlflowClient(f"sqlite:///{run.folder}/mlflow/mlflow.db")
    (logged,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (logged.info.status, logged.info.run_name) == ("FINISHED", run.folder.name)
    assert logged.data.params["optimizer/lr"] == "0.003"
    assert logged.data.params["data/name"] == "mnist"
    histories = {name: client.get_metric_history(logged.info.run_id, name) for name in logged.data.metrics}
    assert_history(run, {name: [each.value for each in values] for name, values in histories.items()})
    assert [file.path for file in client.list_artifacts(logged.info.run_id)] == ["report.html"]


@pytest.mark.parametrize(
    ("uri", "given", "folder"),
    [
        ("sqlite:///{run}/mlflow/mlflow.db", [], "{run}/mlflow/artifacts"),
        ("sqlite:////home/me/mlflow.db", [], "/home/me/mlartifacts"),
        ("sqlite:////home/me/mlflow.db", ["logger.mlflow.artifact_location=/home/me/reports"], "/home/me/reports"),
        ("https://mlflow.example", [], None),
    ],
)
def test_mlflow_keeps_reports_beside_its_database_or_where_the_server_says(
    uri: str, given: list[str], folder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    made: dict[str, Any] = {}
    monkeypatch.setattr(loggers, "call_target", lambda key, target, arguments: made.update(arguments) or DummyLogger())
    words = ["logger=mlflow", f"run_dir={tmp_path}", f"logger.mlflow.tracking_uri={uri.format(run=tmp_path)}"]
    with RunDir(tmp_path) as run_dir, opened(composed([*words, *given]).config, run_dir):
        pass
    assert made.get("artifact_location") == (folder and folder.format(run=tmp_path))
    assert made["run_name"] == tmp_path.name


def records(file: Path) -> Iterator[bytes]:
    """Yield the records of a .wandb file, which is LevelDB's log: blocks of 32 KiB, whose chunks have 7 bytes ahead."""
    content, position, parts = file.read_bytes(), 7, []
    while position < len(content):
        if (left := BLOCK - position % BLOCK) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def read_wandb(file: Path) -> dict[str, Any]:
    """Return the identity, name, settings, figures and artifacts in a file of W&B that was written offline."""
    from wandb.proto import wandb_internal_pb2

    content: dict[str, Any] = {"id": "", "name": "", "config": {}, "figures": {}, "artifacts": []}
    for data in records(file):
        record = wandb_internal_pb2.Record.FromString(data)  # pyright: ignore[reportAttributeAccessIssue]
        content["id"] = record.run.run_id or content["id"]
        content["name"] = record.run.display_name or content["name"]
        for each in (*record.config.update, *record.run.config.update):
            content["config"][each.key or "/".join(each.nested_key)] = json.loads(each.value_json)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            content["figures"].setdefault(name, []).append(json.loads(item.value_json))
        content["artifacts"] += [
            each.type for each in (record.artifact, record.request.log_artifact.artifact) if each.type
        ]
    return content


def test_wandb_has_the_settings_every_epoch_the_result_and_the_report(resumed: Resumed, monkeypatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = resumed("wandb")
    first, second = (read_wandb(file) for file in sorted(run.folder.glob("wandb/offline-run-*/*.wandb")))
    assert first["id"] == second["id"] != ""  # a stop and its continuation are synchronised to one run
    assert second["config"]["optimizer"]["lr"] == 0.003
    names = [*COLUMNS, "val/loss", "test/loss", "test/accuracy"]
    assert_history(run, {each: first["figures"].get(each, []) + second["figures"].get(each, []) for each in names})
    assert second["artifacts"] == ["report"]


def test_jobs_of_a_sweep_are_runs_of_their_own(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep = run_train("-m", "model=softmax_regression", "epochs=1", "seed=1,2", "logger=[wandb,csv]")
    assert sweep.status == 0, sweep.errors
    files = sorted(sweep.folder.glob("*/wandb/offline-run-*/*.wandb"))
    logged = [read_wandb(file) for file in files]
    assert [each["config"]["seed"] for each in logged] == [1, 2]
    assert len({each["id"] for each in logged}) == 2
    for each, job in zip(logged, sorted(sweep.folder.glob("*seed*")), strict=True):
        assert each["name"] == job.name
        assert each["figures"]["test/accuracy"] == [pytest.approx(Run(0, "", "", job).metrics["test"]["accuracy"])]


def test_result_is_kept_without_a_report(run_train: RunTrain) -> None:
    run = run_train(*SETTINGS, "report=false", "logger=csv")
    with (run.folder / "csv" / "metrics.csv").open(newline="") as table:
        found = [float(row["test/accuracy"]) for row in csv.DictReader(table) if row["test/accuracy"]]
    assert found == [pytest.approx(run.metrics["test"]["accuracy"])]


def test_other_processes_of_a_run_log_nothing_and_have_a_logger(tmp_path: Path) -> None:
    with opened(composed(["logger=csv"]).config, RunDir(tmp_path, read_only=True)) as made:
        assert [type(logger) for logger in made] == [DummyLogger]
    assert list(tmp_path.iterdir()) == []


def test_loggers_leave_nothing_outside_the_run_folder(resumed: Resumed, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = set(ROOT.iterdir())
    resumed("csv")
    assert not list((tmp_path / "here").iterdir())
    assert set(ROOT.iterdir()) - before <= {ROOT / "runs"}  # which a test in another process may make


@pytest.mark.parametrize(
    ("logger", "extras"), [("tensorboard", "--extra tensorboard"), ("wandb,mlflow", "--extra wandb --extra mlflow")]
)
def test_missing_package_is_answered_with_the_command_that_has_it(
    run_train: RunTrain, monkeypatch: pytest.MonkeyPatch, logger: str, extras: str
) -> None:
    from launch import settings

    monkeypatch.setattr(settings, "find_spec", lambda _: None)
    run = run_train("model=softmax_regression", f"logger=[{logger}]")
    assert (run.status, run.errors) == (
        2,
        f"refzoo: logger={logger} needs a package. Run it with: uv run {extras} train.py.\n",
    )
