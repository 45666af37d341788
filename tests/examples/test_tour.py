"""Test the tour: its figures are there, and its numbers are those of the zoo's own programs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import run_example
from PIL import Image

import data
import models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tour")


@pytest.fixture(scope="module")
def tour(folder: Path) -> dict[str, Any]:
    return run_example("tour", folder, "--quick")


def test_tour_draws_every_figure_and_writes_a_run(tour: dict[str, Any], folder: Path) -> None:
    for name in ("filters", "feature_maps", "mistakes", "occlusion"):
        with Image.open(folder / f"{name}.png") as picture:
            assert len(picture.convert("L").getcolors() or range(9)) > 5, name
    assert {"weights.safetensors", "metrics.csv", "report.html"} <= {path.name for path in tour["run"].iterdir()}


def test_errors_are_counted_on_the_same_images(tour: dict[str, Any]) -> None:
    test = data.load("mnist", test_size=1_000).test
    errors = {}
    for name in ("lenet_relu", "gru"):
        card = models.card(f"{name}-mnist")["input"]
        with torch.inference_mode():
            answers = models.load(f"{name}-mnist")((test.images / 255 - card["mean"]) / card["std"]).argmax(dim=1)
        errors[name] = answers != test.labels
    assert {name: each.tolist() for name, each in tour["wrong"].items()} == {
        name: each.tolist() for name, each in errors.items()
    }
    assert len(tour["mistakes"]) == int(errors["lenet_relu"].sum()) == round(1_000 * (1 - tour["accuracy"]))


def test_fine_tuned_network_is_loaded_and_better_than_chance(tour: dict[str, Any]) -> None:
    card = models.card(tour["run"])
    assert card["data"] == "fashion_mnist"
    assert card["metrics"]["test"]["accuracy"] == tour["metrics"]["test"]["accuracy"] > 0.5
