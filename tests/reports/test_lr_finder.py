"""Test the learning-rate finder: what it reads from curves of known shape, and its command."""

import math
from pathlib import Path
from typing import Any

import pytest
from conftest import RunTrain
from PIL import Image

from reports import lr_finder
from training.lr_finder import HIGHEST, LOWEST, STEPS, Losses, rate

RATES = [rate(step) for step in range(STEPS)]


def curve(falls: float, low: float, rises: float) -> list[float]:
    """Return losses that are 2.3 up to the rate `falls`, fall to 0.5 at `low`, and rise from `rises` on, with noise."""
    losses = []
    for step, each in enumerate(RATES):
        share = min(1.0, max(0.0, math.log(each / falls) / math.log(low / falls)))
        losses.append(2.3 - 1.8 * share + max(0.0, 5 * math.log10(each / rises)) + 0.02 * math.sin(7 * step))
    return losses


@pytest.mark.parametrize(("falls", "low", "rises"), [(1e-3, 1e-2, 1e-1), (1e-2, 1.0, 4.0), (1e-4, 1e-3, 2e-3)])
def test_rates_are_read_from_a_curve_of_known_shape(falls: float, low: float, rises: float) -> None:
    finding = lr_finder.read(RATES, curve(falls, low, rises))
    assert falls < finding.steepest < low
    assert finding.suggested
    assert low / 1.5 < finding.suggested < rises * 1.5
    assert finding.valley[0] < finding.suggested < finding.valley[1]


def test_no_rate_is_suggested_where_the_loss_does_not_fall() -> None:
    losses = [2.3 + 0.02 * math.sin(step) + max(0, step - 150) / 10 for step in range(STEPS)]
    finding = lr_finder.read(RATES, losses)
    assert finding.suggested is None
    assert lr_finder.text(finding, RATES).endswith("suggested: none, because the loss hardly falls in so few steps")


def test_rates_grow_from_the_lowest_to_the_highest() -> None:
    assert (RATES[0], RATES[-1]) == (pytest.approx(LOWEST), pytest.approx(HIGHEST))


@pytest.mark.parametrize("words", [(), ("optimizer=sgd", "ema=0.9", "callbacks=timer", "scheduler=step")])
def test_command_suggests_a_rate_and_leaves_no_run(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_train("model=softmax_regression", "find_lr=true", *words)
    assert (run.status, run.errors) == (0, "")
    name = "learning_rates_run.png"
    suggested, last = run.output.splitlines()[-2:]
    assert 1e-4 < float(suggested.removeprefix("suggested: optimizer.lr=")) < 10
    assert last == f"-> {name}"
    with Image.open(tmp_path / name) as picture:
        assert picture.width == 1000
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert max(map(len, run.output.splitlines())) <= 80


def test_each_step_has_its_rate_and_its_loss(
    run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained: list[set[float]] = []

    def on_train_batch_start(self: Losses, trainer: Any, *_: Any) -> None:
        trained.append({group["lr"] for group in trainer.optimizers[0].param_groups})

    monkeypatch.setattr(Losses, "on_train_batch_start", on_train_batch_start)
    drawn: list[Any] = []
    monkeypatch.setattr(lr_finder, "draw", lambda *arguments: drawn.extend(arguments))
    assert run_train("model=softmax_regression", "find_lr=true").status == 0
    _, rates, losses, *_ = drawn
    assert len(losses) == len(rates) == len(trained) > 50
    assert [list(each) for each in trained] == [[pytest.approx(rate)] for rate in rates]
    assert losses[0] == pytest.approx(math.log(10), abs=1)


def test_sweep_has_a_picture_for_each_job(run_train: RunTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = run_train("-m", "model=softmax_regression", "optimizer=sgd,momentum", "find_lr=true")
    assert (sweep.status, sweep.errors) == (0, "")
    names = [f"learning_rates_softmax_regression_mnist_seed1_optimizer={each}.png" for each in ("momentum", "sgd")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("words", [("trainer=ddp", "trainer.devices=2"), ("resume=last",)])
def test_one_process_tests_rates_from_the_start(run_train: RunTrain, words: tuple[str, ...]) -> None:
    assert run_train("model=mlp", "find_lr=true", *words).status == 2
