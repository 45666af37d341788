"""Test the trainings that run side by side, with small programs in place of train.py."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT

from launch import threads, trainings
from launch.errors import Interrupted
from launch.trainings import Training

WRITE_EPOCHS = """
import json, os, pathlib, signal, sys, time
folder, epochs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
(folder / "threads").write_text(os.environ.get("OMP_NUM_THREADS", ""))
def stop(number, _):
    (folder / "stopped").touch()
    sys.exit(128 + number)
signal.signal(signal.SIGINT, stop)
(folder / "began").write_text(str(time.time()))
(folder / "metrics.json").write_text(json.dumps({"epochs": epochs}))
rows = "epoch,val_accuracy,images_per_second\\n"
for epoch in range(1, epochs + 1):
    time.sleep(float(sys.argv[3]))
    rows += f"{epoch},0.9{epoch},50\\n"
    (folder / "metrics.csv.partial").write_text(rows)
    (folder / "metrics.csv.partial").rename(folder / "metrics.csv")
(folder / "ended").write_text(str(time.time()))
if epochs == 3:
    sys.exit("refzoo: a loss that is not finite.")
"""


class Fake(Training):
    """Writes the history of so many epochs, each after so many seconds; a training of three epochs fails."""

    def __init__(self, recipe: str, seed: int, runs: Path, epochs: int = 2, seconds: float = 0.1) -> None:
        super().__init__(recipe, seed, runs)
        self.epochs, self.seconds = epochs, seconds

    def command(self) -> list[str]:
        return [sys.executable, "-c", WRITE_EPOCHS, str(self.folder), str(self.epochs), str(self.seconds)]

    def time_of(self, event: str) -> float:
        return float((self.folder / event).read_text())


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "POLL", 0.02)


def test_command_trains_a_recipe_or_resumes_it(tmp_path: Path) -> None:
    training = Training("gpu/lenet-mnist", 2, tmp_path)
    assert (training.name, training.folder) == ("lenet-mnist", tmp_path / "gpu/lenet-mnist/seed2")
    words = ["recipe=gpu/lenet-mnist", "seed=2", f"run_dir={training.folder}"]
    assert training.command() == [sys.executable, str(ROOT / "train.py"), *words]
    (training.folder / ".hydra").mkdir(parents=True)
    for file in ("config.yaml", ".hydra/overrides.yaml"):
        (training.folder / file).touch()
    assert Training("gpu/lenet-mnist", 2, tmp_path).command()[2:] == [f"resume={training.folder}"]


def test_two_at_a_time_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 7)
    wanted = [Fake("a-mnist", seed, tmp_path, epochs) for seed, epochs in ((1, 2), (2, 3), (3, 1))]
    ended = list(trainings.train(wanted, jobs=2))
    assert {(each.seed, each.status) for each in ended if isinstance(each, Fake)} == {(1, 0), (2, 1), (3, 0)}
    assert wanted[1].errors == "refzoo: a loss that is not finite.\n"
    first, second, third = wanted
    assert first.time_of("began") < second.time_of("ended")
    assert second.time_of("began") < first.time_of("ended")  # at the same time
    assert third.time_of("began") > min(first.time_of("ended"), second.time_of("ended"))
    assert {(each.folder / "threads").read_text() for each in wanted} == {"3"}
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "a-mnist seed 1: begins"
    assert "a-mnist seed 1: epoch 2/2, validation 0.9200" in lines
    assert "a-mnist seed 2: ended with status 1" in lines
    assert lines.index("a-mnist seed 3: begins") < lines.index("a-mnist seed 3: trained")


@pytest.mark.parametrize(("setting", "jobs", "expected"), [("5", 2, "5"), (None, 1, ""), (None, 9, "1")])
def test_users_thread_setting_wins_and_one_training_has_all_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None, jobs: int, expected: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    if setting:
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
    (training,) = trainings.train([Fake("a-mnist", 1, tmp_path, 1, 0)], jobs)
    assert (training.folder / "threads").read_text() == expected


def test_interruption_reaches_all_that_run_and_starts_no_more(tmp_path: Path) -> None:
    wanted = [Fake("a-mnist", seed, tmp_path, 1000) for seed in (1, 2, 3)]

    def interrupt() -> None:
        while not all((each.folder / "metrics.csv").exists() for each in wanted[:2]):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted, match="stopped by SIGINT") as raised:
        list(trainings.train(wanted, jobs=2))
    assert raised.value.status == 130
    assert [(each.folder / "stopped").exists() for each in wanted] == [True, True, False]
    assert not wanted[2].folder.exists()


def test_processes_end_when_the_program_fails_between_two_trainings(tmp_path: Path) -> None:
    quick, slow = Fake("a-mnist", 1, tmp_path, 1), Fake("a-mnist", 2, tmp_path, 1000)
    ending = trainings.train([quick, slow], jobs=2)
    assert next(ending) is quick
    ending.close()
    for _ in range(500):
        found = subprocess.run(["pgrep", "-f", str(slow.folder)], stdout=subprocess.DEVNULL)
        if found.returncode:
            return
        time.sleep(0.02)
    raise AssertionError("the process goes on")


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_progress_of_an_unreadable_run_is_none(tmp_path: Path, damage: str) -> None:
    training = Training("a-mnist", 1, tmp_path)
    assert training.progress() == (0, 1, "")
    training.folder.mkdir(parents=True)
    (training.folder / "metrics.csv").touch()
    (training.folder / "metrics.json").write_text(damage)
    assert training.progress() == (0, 1, "")
    (training.folder / "metrics.json").write_text('{"epochs": 3}')
    assert training.progress() == (0, 3, "")
