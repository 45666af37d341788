"""Test tune.py as it is typed: what it refuses, what it writes, and that a search goes on after any end."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, RunProgram, RunTrain

import tune
from launch.errors import STATUS, ProcessLost
from launch.processes import ProcessGroup

optuna = pytest.importorskip("optuna")

from reports import search_page  # noqa: E402
from training.callbacks.pruning import Pruning  # noqa: E402

SPACE = "optimizer.lr: {low: 1e-4, high: 1.0, log: true}\nmodel.dropout: {low: 0.0, high: 0.5, step: 0.1}\n"
MLP = ("model=mlp", "data.train_size=600", "data.val_size=400", "batch_size=64", "trainer=cpu")
SMALL = (*MLP, "epochs=2")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


def trials(folder: Path) -> list[Any]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    found = optuna.load_study(study_name="search", storage=storage).get_trials()
    storage.engine.dispose()
    return found


def content(folder: Path) -> list[Any]:
    return [(each.number, each.params, each.value, each.state, each.intermediate_values) for each in trials(folder)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model=lenett"], "there is no model=lenett, did you mean 'lenet'?"),
        (["lenet"], "'lenet' cannot be read. Write key=value"),
        (["epohcs=3"], "there is no key 'epohcs', did you mean 'epochs'?"),
        (["epochs=0"], "epochs=0 is not valid"),
        (["optimizer.lr=0.1,0.2"], "all trials have one value"),
        (["resume=last"], "resume= is for train.py"),
        (["run_dir=x"], "run_dir= is for train.py"),
        (["hydra.verbose=true"], "hydra.verbose= is for train.py"),
        (["hydra/launcher=joblib"], "hydra/launcher= is for train.py"),
        (["trainer=ddp"], "Leave trainer=ddp out"),
        (["data.val_size=0"], "a search needs validation"),
        (["--trials", "0"], "--trials: 0 is no whole number above 0"),
        (["--jobs", "x"], "--jobs: x is no whole number above 0"),
        (["--seed", "x"], "--seed: invalid int value"),
        (["--space", "/nowhere.yaml"], "the space /nowhere.yaml cannot be read"),
        (["--trails", "3"], "unrecognized arguments: --trails"),
    ],
)
def test_wrong_command_is_refused(run_program: RunProgram, words: list[str], says: str) -> None:
    refused = run_program(tune, *words)
    assert refused.status == 2
    assert says in refused.errors
    assert refused.errors.startswith("refzoo: ")
    assert refused.errors.count("\n") == 1


def test_help_and_a_wrong_command_import_nothing_slow() -> None:
    code = """
import sys, tune
from launch import flags
sys.argv = ["tune.py", "model=lenet", "optimizer.lrr=1"]
status = flags.status_of(tune.main)
print(status, *{"torch", "lightning", "optuna", "plotly", "numpy"} & sys.modules.keys())
sys.argv = ["tune.py", "--help"]
tune.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "2"
    assert "usage: tune.py" in done.stdout


def test_missing_package_is_named(
    run_program: RunProgram, monkeypatch: pytest.MonkeyPatch, space: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(tune, "find_spec", lambda name: None)
    refused = run_program(tune, "model=mlp", "--space", space, "--folder", tmp_path / "search")
    command = f"uv run --extra search tune.py model=mlp --space {space} --folder {tmp_path / 'search'}"
    assert refused.errors == f"refzoo: a search needs optuna and plotly. Run it with: {command}\n"
    assert refused.status == 5
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_search_is_summarised_and_its_best_trial_can_be_trained(
    run_program: RunProgram, run_train: RunTrain, space: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "search"
    command = (*SMALL, "--space", space, "--folder", folder)
    done = run_program(tune, *command, "--trials", "3")
    assert (done.status, done.errors) == (0, "")
    found = trials(folder)
    best = max(found, key=lambda trial: trial.value)
    assert f"trial {best.number}: validation {100 * best.value:.2f} %, the best so far\n" in done.output
    assert f"3 trials: 3 finished; the best is {100 * (best.value - found[0].value):.2f} points above" in done.output
    table = done.output.partition("\ntrial  val %")[2].partition("3 trials:")[0]
    assert max(map(len, table.splitlines())) <= 80
    rows = re.findall(r"^ +(\d+) +(\d+\.\d\d) ", table, re.MULTILINE)
    expected = sorted(found, key=lambda trial: (-trial.value, trial.number))
    assert rows == [(str(trial.number), f"{100 * trial.value:.2f}") for trial in expected]
    assert {file.name for file in folder.iterdir()} <= {
        *("search.yaml", "study.db", "search.html", "recipe"),
        *(".lock", ".claim.lock"),
    }

    page = (folder / "search.html").read_text()
    assert page.count("plotly.js v") == 1
    assert all(f'id="{title}"' in page for title in ("History", "Epochs", "Importances", "Combinations", "Values"))
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="(?!data:)', page)

    run = run_train("--config-dir", str(folder), "recipe=best")
    assert run.status == 0, run.errors
    assert float(run.rows[-1]["val_accuracy"]) == best.value
    assert [float(row["val_accuracy"]) for row in run.rows] == list(best.intermediate_values.values())

    before = content(folder)
    longer = run_program(tune, *command, "--trials", "4")
    assert (longer.status, content(folder)[:3], len(content(folder))) == (0, before, 4)
    for words, says in (
        (["--seed", "2"], "holds another search: --seed is 1 there, and 2 in this command."),
        (["ema=0.9"], "holds another search: ema is None there, and 0.9 in this command."),
    ):
        refused = run_program(tune, *command, *words)
        assert (refused.status, says in refused.errors) == (2, True), refused.errors
    space.write_text(SPACE.replace("1.0", "0.5"))
    refused = run_program(tune, *command)
    assert "holds another search: the range of optimizer.lr is {'low': 0.0001, 'high': 1.0, 'log'" in refused.errors
    (folder / "study.db").write_bytes(b"x" * 4096)
    space.write_text(SPACE)
    refused = run_program(tune, *command)
    assert (refused.status, "study.db cannot be read" in refused.errors) == (4, True), refused.errors


def wait_for_trial(folder: Path, number: int) -> None:
    """Wait until this trial has ended an epoch and is running."""
    query = "SELECT state FROM trials JOIN trial_intermediate_values USING (trial_id) WHERE number = ?"
    for _ in range(600):
        with contextlib.suppress(sqlite3.Error):  # the file or its tables are not there yet
            study = sqlite3.connect(f"file:{folder / 'study.db'}?mode=ro", uri=True)
            with contextlib.closing(study):
                if ("RUNNING",) in study.execute(query, (number,)).fetchall():
                    return
        time.sleep(0.1)
    raise AssertionError("the trial has not begun")


@pytest.mark.slow
def test_search_that_was_refused_by_its_network_can_be_corrected(
    run_program: RunProgram, space: Path, tmp_path: Path
) -> None:
    words = (*SMALL, "--space", space, "--folder", tmp_path / "search", "--trials", "1")
    space.write_text(SPACE.replace("0.5", "1.5"))
    refused = run_program(tune, *words)
    assert (refused.status, "dropout" in refused.errors) == (2, True), refused.errors
    space.write_text(SPACE)
    done = run_program(tune, *words)
    assert (done.status, done.errors) == (0, "")
    assert (tmp_path / "search" / "search.html").exists()  # with the plots that one trial allows
    assert trials(tmp_path / "search")[0].params == {"optimizer.lr": 0.003, "model.dropout": 0.0}


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="needs its signals")
def test_search_that_was_killed_and_stopped_has_the_trials_of_a_whole_one(
    run_program: RunProgram, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_page, "render", lambda *_: "")  # it takes seconds, and is tested above
    longer = (*MLP, "epochs=8", "--space", space)
    words = (*longer, "--trials", "3", "--folder", tmp_path / "parts")
    command = [sys.executable, str(ROOT / "tune.py"), *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_trial(tmp_path / "parts", 1)
    process.kill()
    process.wait()
    assert [trial.state.name for trial in trials(tmp_path / "parts")] == ["COMPLETE", "RUNNING"]

    report = Pruning.on_train_epoch_end

    def report_and_stop(callback: Pruning, *arguments: Any) -> None:
        report(callback, *arguments)
        if callback.trial.number == 2 and len(callback.accuracies) == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Pruning, "on_train_epoch_end", report_and_stop)
    stopped = run_program(tune, *words)
    monkeypatch.setattr(Pruning, "on_train_epoch_end", report)
    again = re.escape(f"uv run --extra search tune.py {' '.join(map(str, words))} goes on with it")
    assert stopped.status == 130
    assert re.fullmatch(rf"refzoo: stopped by SIGINT in epoch 4, after step \d+; {again}\.\n", stopped.errors)
    assert [trial.state.name for trial in trials(tmp_path / "parts")] == ["COMPLETE", "COMPLETE", "RUNNING"]

    assert run_program(tune, *words).status == 0
    assert run_program(tune, *longer, "--trials", "3", "--folder", tmp_path / "whole").status == 0
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="needs its signals")
def test_two_processes_share_a_search_also_after_one_was_lost(
    run_program: RunProgram, space: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    command = (*MLP, "epochs=40", "--space", space, "--trials", "4", "--jobs", "2", "--folder", folder)
    start, started = ProcessGroup.start, []

    def start_and_keep(group: ProcessGroup, words: list[str], **options: Any) -> subprocess.Popen[Any]:
        started.append(start(group, words, **options))
        return started[-1]

    def kill_one() -> None:
        wait_for_trial(folder, 0)
        started[0].kill()

    monkeypatch.setattr(ProcessGroup, "start", start_and_keep)
    killer = threading.Thread(target=kill_one)
    killer.start()
    lost = run_program(tune, *command)
    killer.join()
    assert lost.status == STATUS[ProcessLost]
    assert lost.errors.startswith("refzoo: one of 2 processes was ended by SIGKILL; uv run --extra search tune.py ")
    assert len(started) == 2
    done = run_program(tune, *command, "--jobs", "1")
    assert (done.status, done.errors) == (0, "")
    found = trials(folder)
    assert [trial.number for trial in found] == list(range(4))
    assert all(trial.state.is_finished() for trial in found)
    assert len({tuple(trial.params.values()) for trial in found}) == 4
    ended = re.findall(r"^trial (\d):", lost.output + done.output, re.MULTILINE)
    assert sorted(ended) == list("0123")
