"""Test the space of a search: what it may hold, what is refused, and the recipe of a configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from launch.errors import SettingsError
from launch.space import Choices, Numbers, Plan, as_recipe


def plan(folder: Path, space: dict[str, Any] | str, *overrides: str) -> Plan:
    file = folder / "space.yaml"
    file.write_text(space if isinstance(space, str) else yaml.safe_dump(space))
    return Plan(list(overrides), file, ROOT / "runs")


def test_values_of_a_range_are_whole_if_both_ends_are() -> None:
    assert [Numbers(low=1, high=4).holds(value) for value in (0, 1, 4, 5, 2.0, True)] == [0, 1, 1, 0, 0, 0]
    assert [Numbers(low=0.0, high=1.0).holds(value) for value in (-0.1, 0.0, 0.37, 1, 1.1)] == [0, 1, 1, 1, 0]
    tenths = Numbers(low=0.0, high=0.5, step=0.1)
    assert [tenths.holds(value) for value in (0.3, 0.1 + 0.2, 0.25)] == [1, 1, 0]
    assert [Choices(choices=[None, [1, 2], "a"]).holds(value) for value in (None, [1, 2], "a", [1])] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("key", "given", "says"),
    [
        ("optimizer.lr", {"low": 2, "high": 1}, "is not valid, it should be a range with low below high"),
        ("optimizer.lr", {"low": 0, "high": 1.0, "log": True}, "above 0, without a step"),
        ("optimizer.lr", {"low": 0.0, "high": 1.0, "step": 0.3}, "a range of whole steps of 0.3"),
        ("batch_size", {"low": 0, "high": 64, "step": 0.5}, "a whole step"),
        ("optimizer.lr", {"low": "a", "high": 1}, "optimizer.lr.low=a is not valid"),
        ("optimizer.lr", {"low": 1}, "optimizer.lr.high is missing"),
        ("optimizer.lr", {"low": 1, "high": 2, "logg": True}, "there is no key 'optimizer.lr.logg', did you mean"),
        ("optimizer.lr", 3, "optimizer.lr: 3 is no range"),
        ("optimizer", {"choices": ["adamw"]}, "at least 2 items"),
        ("optimizer", {"choices": ["adamw", "adamm"]}, "there is no optimizer=adamm, did you mean 'adam'?"),
        ("optimizer.lrr", {"low": 1, "high": 2}, "there is no key 'optimizer.lrr', did you mean 'lr'?"),
        ("optimizer.lr", {"low": -1.0, "high": 2.0}, "optimizer.lr=-1.0 is not valid"),
        ("epochs", {"low": 0, "high": 2}, "epochs=0 is not valid"),
        ("data.train_size", {"low": 100, "high": 200}, "all trials have the same data"),
        ("data", {"choices": ["mnist", "fashion_mnist"]}, "all trials have the same data"),
        ("threads", {"low": 1, "high": 2}, "threads cannot be searched"),
        ("run_dir", {"choices": ["a", "b"]}, "run_dir cannot be searched"),
        ("trainer", {"choices": ["cpu", "cuda"]}, "trainer cannot be searched"),
    ],
)
def test_wrong_space_is_refused(tmp_path: Path, key: str, given: Any, says: str) -> None:
    with pytest.raises(SettingsError) as raised:
        plan(tmp_path, {key: given})
    assert says in str(raised.value)


@pytest.mark.parametrize(("text", "says"), [("- a\n", "holds no keys"), ("a: [", "cannot be read"), ("", "is left")])
def test_file_that_is_no_space_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        plan(tmp_path, text)


def test_keys_of_the_command_are_not_searched(tmp_path: Path) -> None:
    space = {"optimizer": {"choices": ["adamw", "nesterov"]}, "optimizer.lr": {"low": 0.1, "high": 0.2}}
    assert list(plan(tmp_path, space, "optimizer=sgd").space) == ["optimizer.lr"]
    with pytest.raises(SettingsError, match="nothing is left to search"):
        plan(tmp_path, space, "optimizer=sgd", "optimizer.lr=0.1")


def test_default_space_leaves_out_keys_of_other_options() -> None:
    found = Plan(["model=lenet", "scheduler=constant"], None, ROOT / "runs").space
    assert "model.padding" in found
    assert "scheduler.warm_up" not in found


def test_defaults_are_those_of_the_command_and_lie_in_the_space(tmp_path: Path) -> None:
    space = {
        "optimizer": {"choices": ["adamw", "sgd"]},
        "optimizer.lr": {"low": 0.001, "high": 0.1},
        "model.hidden_sizes": {"choices": [[256], [512, 256]]},
        "gradient_clip": {"choices": [None, 1.0]},
    }
    expected = {"optimizer": "adamw", "optimizer.lr": 0.003, "model.hidden_sizes": "[256]", "gradient_clip": None}
    assert plan(tmp_path, space, "model=mlp").defaults() == expected
    assert plan(tmp_path, space | {"batch_size": {"low": 1, "high": 64}}, "model=mlp").defaults() is None


def test_every_end_and_every_choice_is_checked(tmp_path: Path) -> None:
    space = {"optimizer": {"choices": ["adamw", "sgd", "adam"]}, "batch_size": {"low": 32, "high": 64}}
    corners = plan(tmp_path, space).corners
    assert {corner.optimizer._target_.rpartition(".")[2] for corner in corners} == {"AdamW", "SGD", "Adam"}
    assert {corner.batch_size for corner in corners} == {32, 64}


def test_recipe_gives_the_configuration_that_it_was_made_of(tmp_path: Path) -> None:
    space = {"optimizer": {"choices": ["adamw", "sgd"]}, "model.hidden_sizes": {"choices": [[256], [512, 256]]}}
    trial = plan(tmp_path, space, "recipe=mlp-mnist", "ema=0.9").configure(
        {"optimizer": "sgd", "model.hidden_sizes": "[512,256]"}
    )
    recipe = yaml.safe_load(as_recipe(trial))
    assert recipe["defaults"] == [
        {"override /model": "mlp"},
        {"override /data": "mnist"},
        {"override /optimizer": "sgd"},
        {"override /scheduler": "one_cycle"},
    ]
    assert (recipe["model"]["hidden_sizes"], recipe["ema"]) == ([512, 256], 0.9)


def test_steps_are_set_without_the_rounding_of_their_sums(tmp_path: Path) -> None:
    found = plan(tmp_path, {"scheduler.warm_up": {"low": 0.1, "high": 0.5, "step": 0.1}})
    assert found.configure({"scheduler.warm_up": 0.1 + 2 * 0.1}).config.scheduler.warm_up == 0.3
