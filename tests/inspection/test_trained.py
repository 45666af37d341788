"""Test what networks answer for a picture, and which of them answer while one draws."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, RunProgram

import pictures
import predict
from inspection import networks
from inspection.networks import LIVE, Form
from launch.errors import RunFailed
from models import WeightsError

SEVEN = ROOT / "samples" / "digits" / "7_corner.png"


def test_answer_is_that_of_predict(run_program: RunProgram, tmp_path: Path) -> None:
    """Compare with the program, on a picture that is not clear to softmax regression."""
    for name in ("softmax_regression-mnist", "lenet-mnist", "gru-mnist"):
        trained = networks.load(name)
        answer = networks.ask(trained, pictures.read(str(SEVEN), *trained.form[:1]).pixels)
        result = run_program(predict, "--weights", name, SEVEN, "--json", tmp_path / "result.json")
        assert result.status == 0
        line = (tmp_path / "result.json").read_text()
        assert f'"class": "{trained.classes[answer.label]}"' in line
        assert f"{answer.probability:.5f}"[:6] in line


def test_form_of_own_data_is_that_of_its_training(own_run: Path) -> None:
    trained = networks.load(str(own_run))
    assert trained.form == Form("", 3, (12, 10))
    assert (trained.name, trained.data) == (str(own_run), "colours (0, 1)")
    assert networks.ask(trained, np.zeros((3, 12, 10), np.uint8)).label in range(2)


def test_bundled_networks_share_one_form_and_are_named_without_their_data() -> None:
    loaded = [networks.load(name) for name in ("lenet_relu-fashion_mnist", "rnn-fashion_mnist")]
    assert {trained.form for trained in loaded} == {Form("fashion_mnist", 1, (28, 28))}
    assert [trained.name for trained in loaded] == ["lenet_relu", "rnn"]
    assert loaded[0].accuracy == loaded[0].card["metrics"]["test"]["accuracy"]


def test_live_networks_are_the_fastest_within_the_budget() -> None:
    lenet = networks.load("lenet-mnist")
    times = [LIVE, LIVE / 4, 2 * LIVE, LIVE / 2, LIVE / 4]
    several = [dataclasses.replace(lenet, source=str(n), milliseconds=ms) for n, ms in enumerate(times)]
    assert [trained.source for trained in networks.live(several)] == ["1", "3", "4"]
    assert [trained.source for trained in networks.live(several[2:3])] == ["2"]  # one at least


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="did you mean"):
        networks.load("lenet-mnits")


def test_probabilities_are_those_of_the_network_on_standardised_images() -> None:
    trained = networks.load("mlp-mnist")
    images = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8)
    mean, std = trained.card["input"]["mean"], trained.card["input"]["std"]
    expected = trained.network((images / 255 - mean) / std).softmax(dim=1)
    torch.testing.assert_close(trained.probabilities(images), expected, rtol=1e-4, atol=1e-6)


def test_weights_that_give_nan_or_other_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.Trained, "probabilities", lambda _, images: torch.full((len(images), 10), torch.nan))
    with pytest.raises(RunFailed, match="outputs that are not finite"):
        networks.load("lenet-mnist")
    monkeypatch.setattr(networks.Trained, "probabilities", lambda _, images: torch.zeros(len(images), 11))
    with pytest.raises(WeightsError, match="names 10 classes, its network has 11"):
        networks.load("lenet-mnist")
