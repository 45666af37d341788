"""Test what a run draws on a terminal of 80 columns, also when it is stopped and resumed."""

import os
import re
import signal
import sys
from typing import Any

import pytest
from conftest import RunTrain

from launch.processes import SIDE_BY_SIDE
from training.callbacks.interruption import Interruption


def screen(text: str) -> list[str]:
    """Return the lines that are seen in the end."""
    rows, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[AK]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\x1b[A":
            row -= 1
        elif part == "\x1b[K":
            rows[row] = rows[row][:column]
        elif part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            rows += [""] * (row - len(rows) + 1)
        else:
            rows[row] = rows[row][:column].ljust(column) + part + rows[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in rows if line.strip()]


def test_bar_names_the_epoch_fits_and_leaves_nothing_behind(
    run_train: RunTrain, resume: RunTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Interruption, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 90:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "on_train_batch_start", stop)
        stopped = run_train("model=softmax_regression", "data.train_size=4000", "epochs=3")
    assert stopped.status == 130
    bars = [bar.rstrip() for bar in re.findall(r"\r(epoch \d/3: [^\r\n\x1b]*)", stopped.output)]
    assert {bar.split(":")[0] for bar in bars} == {"epoch 1/3", "epoch 2/3"}
    assert all(len(bar) <= 77 for bar in bars)
    assert max(bar.count("█") for bar in bars) > 10  # wide enough to be seen
    (line,) = screen(stopped.output)
    assert re.fullmatch(r"epoch 1/3  train loss .* img/s", line)
    assert len(line) <= 80

    resumed = resume()
    begun = re.findall(r"\r(epoch \d/3): +(\d+)%[^\r\n]* \d+/(\d+) ", resumed.output)
    assert begun[0][0] == "epoch 2/3"
    assert {total for *_, total in begun} == {str(4000 // 64)}
    seen = screen(resumed.output)
    assert [each.split("  ")[0] for each in seen[:2]] == ["epoch 2/3", "epoch 3/3"]
    assert seen[2].startswith("softmax_regression on mnist: test accuracy ")
    assert seen[3] == f"-> {resumed.folder}"  # it does not fit beside


def test_huge_loss_does_not_wrap_its_line(run_train: RunTrain) -> None:
    run = run_train("model=softmax_regression", "optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant")
    assert run.status == 0, run.errors
    assert float(run.rows[0]["val_loss"]) > 1e20
    assert max(map(len, run.output.splitlines()[:2])) <= 80


def test_there_is_no_bar_beside_others_on_one_terminal(run_train: RunTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIDE_BY_SIDE, "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run = run_train("model=softmax_regression")
    assert run.status == 0, run.errors
    assert "\r" not in run.output
