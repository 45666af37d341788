"""Test the trials of a search: they follow from its seed, may be pruned or fail, and have no test images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT, read_once
from omegaconf import DictConfig

import models
from data import idx
from data.splits import Splits
from launch.errors import SettingsError
from launch.space import FAILED, Plan
from models import WeightsError
from training.parts import check_arguments, make_network

optuna = pytest.importorskip("optuna")

from training import search  # noqa: E402
from training import study as studies  # noqa: E402

SMALL = ("model=softmax_regression", "data.train_size=600", "data.val_size=400", "batch_size=64", "trainer=cpu")
Trials = list[Any]


@pytest.fixture
def run_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Trials]:
    """Search a space in a new folder; return the trials."""
    monkeypatch.setattr(idx, "read", read_once)

    def run(space: dict[str, Any], trials: int, *overrides: str, seed: int = 1, folder: str = "search") -> Trials:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        (path / "space.yaml").write_text(yaml.safe_dump(space))
        plan = Plan([*SMALL, *overrides], path / "space.yaml", ROOT / "runs")
        study = studies.open_study(path / "study.db", seed, plan.base.config.epochs)
        studies.enqueue_trials(study, plan.defaults())
        ended: list[int] = []
        search.work(plan, study, path, trials, 1, lambda trial: ended.append(trial.number))
        found = study.get_trials()
        assert ended == [trial.number for trial in found][-len(ended) :]
        assert all(trial.state.is_finished() for trial in found)
        return found

    return run


def content(trials: Trials) -> list[Any]:
    return [(each.number, each.params, each.value, each.state, each.intermediate_values) for each in trials]


@pytest.mark.thorough
def test_equal_seeds_give_equal_trials_also_in_parts(
    run_search: Callable[..., Trials], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 12 trials, the last ones are sampled by the estimator, the first ones at random."""
    monkeypatch.setattr(search, "run_trial", lambda config, *_: -abs(config.optimizer.lr - 0.1))
    space = {"optimizer.lr": {"low": 0.0001, "high": 1.0, "log": True}, "optimizer": {"choices": ["adamw", "sgd"]}}
    whole = run_search(space, 12, "epochs=1", folder="whole")
    run_search(space, 11, "epochs=1", folder="parts")
    study = studies.open_study(tmp_path / "parts" / "study.db", 1, 1)
    study.ask({"optimizer": optuna.distributions.CategoricalDistribution(["adamw", "sgd"])})  # and then it is killed
    assert content(run_search(space, 12, "epochs=1", folder="parts")) == content(whole)
    assert len({trial.params["optimizer.lr"] for trial in whole}) == 12
    assert whole[0].params == {"optimizer": "adamw", "optimizer.lr": 0.003}  # the defaults
    other = run_search(space, 2, "epochs=1", seed=2, folder="other")
    assert other[0].params == whole[0].params
    assert other[1].params != whole[1].params


@pytest.mark.slow
def test_poor_trials_are_pruned_after_a_third_of_the_epochs(run_search: Callable[..., Trials]) -> None:
    trials = run_search({"optimizer.lr": {"low": 1e-5, "high": 0.1, "log": True}}, 8, "epochs=4")
    pruned = [trial for trial in trials if trial.state == optuna.trial.TrialState.PRUNED]
    finished = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert len(pruned) >= 1
    assert len(finished) >= studies.FIRST_UNPRUNED
    assert all(2 <= trial.last_step < 4 for trial in pruned)
    assert all(list(trial.intermediate_values) == [1, 2, 3, 4] for trial in finished)
    assert all(trial.value == trial.intermediate_values[4] for trial in finished)


def test_a_trial_whose_loss_is_not_finite_ends_alone(run_search: Callable[..., Trials]) -> None:
    space = {"optimizer.lr": {"choices": [0.1, 1e38]}}
    trials = run_search(space, 5, "optimizer=sgd", "scheduler=constant", "epochs=1")
    failed = [trial for trial in trials if FAILED in trial.user_attrs]
    assert {trial.params["optimizer.lr"] for trial in failed} == {1e38}
    assert all("the loss became" in trial.user_attrs[FAILED] for trial in failed)
    assert 0 < len(failed) < 5


def test_the_best_epoch_counts_if_its_weights_are_stored(run_search: Callable[..., Trials]) -> None:
    space = {"optimizer.lr": {"choices": [0.1, 1.0]}}
    (trial,) = run_search(space, 1, "optimizer=sgd", "scheduler=constant", "epochs=6", "select=best")
    accuracies = list(trial.intermediate_values.values())
    assert trial.value == max(accuracies) > accuracies[-1]


def test_no_trial_has_test_images(run_search: Callable[..., Trials], monkeypatch: pytest.MonkeyPatch) -> None:
    run_trial, counts = search.run_trial, []

    def run_trial_and_count(config: DictConfig, splits: Splits, *rest: Any) -> float:
        counts.append((len(splits.train.labels), len(splits.test.images), len(splits.test.labels)))
        return run_trial(config, splits, *rest)

    monkeypatch.setattr(search, "run_trial", run_trial_and_count)
    run_search({"optimizer.lr": {"low": 0.01, "high": 0.1}}, 2, "epochs=1")
    assert counts == [(600, 0, 0)] * 2


def test_search_on_own_data_does_not_go_on_when_they_have_changed(
    run_search: Callable[..., Trials], tmp_path: Path
) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 12, 10), np.uint8), np.arange(60) % 2
    own = ("model=mlp", "data=arrays", f"data.root={tmp_path / 'own.npz'}", "data.train_size=38", "data.val_size=10")
    space, few = {"optimizer.lr": {"low": 0.01, "high": 0.1}}, (*own, "batch_size=10", "epochs=1")
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    run_search(space, 1, *few)
    assert len(run_search(space, 2, *few)) == 2
    np.savez(tmp_path / "own.npz", images=255 - images, labels=labels)
    with pytest.raises(SettingsError, match="the images or labels have changed since the search began"):
        run_search(space, 3, *few)


def test_values_of_a_study_that_no_search_would_try_are_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("optimizer.lr: {low: 0.1, high: 0.2}\noptimizer: {choices: [sgd, adam]}\n")
    plan = Plan([*SMALL], tmp_path / "space.yaml", ROOT / "runs")
    assert plan.of_trial({"optimizer.lr": 0.15, "optimizer": "sgd"}).config.optimizer.lr == 0.15
    for key, value in (("+callbacks.x._target_", "os.system"), ("optimizer.lr", 0.3), ("optimizer", "[a,b]")):
        with pytest.raises(WeightsError, match="which is not in the space"):
            plan.of_trial({key: value})


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_space_of_every_network_holds_its_defaults_and_can_be_tried(name: str) -> None:
    plan = Plan([f"model={name}"], None, ROOT / "runs")
    assert plan.defaults()
    for corner in plan.corners:
        check_arguments(corner)
        make_network(corner)
