"""Test the benchmark of seconds to an accuracy: its table, how it is resumed, and PyTorch's example beside it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import pytorch_example, saved, time_to_accuracy
from launch import flags, processes

EXAMPLE = time_to_accuracy.EXAMPLE
Runs = Callable[..., list[tuple[str, int]]]


def test_example_network_matches_its_description() -> None:
    network = pytorch_example.ExampleNetwork().eval()
    shapes = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.Linear):
            layer.register_forward_hook(lambda _layer, _inputs, output: shapes.append(tuple(output.shape[1:])))
    log_probabilities = network(torch.randn(2, 1, 28, 28))
    assert shapes == [(32, 26, 26), (64, 24, 24), (64, 12, 12), (128,), (10,)]
    assert torch.allclose(log_probabilities.exp().sum(dim=1), torch.ones(2))
    assert [layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)] == [0.25, 0.5]
    convolutions = 32 * (9 + 1) + 64 * (32 * 9 + 1)
    assert sum(p.numel() for p in network.parameters()) == convolutions + 128 * 9_217 + 10 * 129 == 1_199_882


class Stripes(Dataset):
    """Stand in for torchvision's MNIST: 120 images whose bright pixel tells their label, and a log of what is read."""

    read: list[tuple[bool, int]]

    def __init__(self, root: str, train: bool, transform: object) -> None:
        self.train = train

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.read.append((self.train, index))
        image = torch.zeros(1, 28, 28)
        image[0, index % 10 * 2] = 1
        return image, index % 10


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, int]]:
    """Return the log of what is read. Validation is the last 20 of the training images."""
    np.save(tmp_path / "permutation.npy", np.arange(120)[::-1])
    monkeypatch.setattr(pytorch_example, "PERMUTATION", tmp_path / "permutation.npy")
    monkeypatch.setattr(pytorch_example, "VALIDATION", 20)
    monkeypatch.setattr(pytorch_example, "MNIST", Stripes)
    monkeypatch.setattr(pytorch_example, "DEVICE", torch.device("cpu"))
    monkeypatch.setattr(Stripes, "read", [], raising=False)
    return Stripes.read


def test_example_trains_on_the_training_split_and_is_tested_once(
    tmp_path: Path, stripes: list[tuple[bool, int]]
) -> None:
    figures = pytorch_example.run(tmp_path, epochs=3, seed=1, validate=False)
    assert figures["test"]["images"] == 120
    assert figures["test"]["accuracy"] > 0.5  # it learns
    epochs = [stripes[epoch * 100 : (epoch + 1) * 100] for epoch in range(3)]
    everything = [(True, index) for index in range(100)]
    assert all(sorted(epoch) == everything for epoch in epochs)
    assert epochs[0] != epochs[1] != everything  # shuffled anew in every epoch
    assert sorted(stripes[300:]) == [(False, index) for index in range(120)]


def test_example_decays_its_rate_and_is_validated_instead_of_tested(
    tmp_path: Path,
    stripes: list[tuple[bool, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = []

    def train_epoch(_: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> None:
        optimizer.step()  # otherwise the schedule warns
        seen.append((type(optimizer), optimizer.param_groups[0]["lr"], loader.batch_size, loader.num_workers))

    monkeypatch.setattr(pytorch_example, "train_epoch", train_epoch)
    assert pytorch_example.run(tmp_path, epochs=3, seed=1, validate=True)["test"] is None
    assert seen == [(torch.optim.Adadelta, pytest.approx(rate), 64, 0) for rate in (1.0, 0.7, 0.49)]
    assert capsys.readouterr().out.count("validation accuracy") == 3
    assert sorted(stripes) == sorted(3 * [(True, index) for index in range(100, 120)])


def results(*turns: dict[str, tuple[float, float, float]]) -> dict[str, Any]:
    return {
        "machine": "Abacus",
        "level": 99.0,
        "contenders": {"fast-mnist": {"epochs": 2}, EXAMPLE: {"epochs": 3}},
        "turns": [
            {
                "seed": seed,
                "runs": {
                    name: dict(zip(("accuracy", "train_seconds", "process_seconds"), run, strict=True))
                    for name, run in turn.items()
                },
            }
            for seed, turn in enumerate(turns, start=1)
        ],
    }


def test_table_equals_values_computed_by_hand() -> None:
    """Compare with values worked out by hand; the median of the ratios, 15, is not the ratio of the medians, 12."""
    made_up = results(
        {"fast-mnist": (0.991, 10, 20), EXAMPLE: (0.989, 200, 210)},
        {"fast-mnist": (0.989, 20, 40), EXAMPLE: (0.988, 240, 280)},
        {"fast-mnist": (0.990, 40, 50), EXAMPLE: (0.990, 600, 600)},
    )
    head, ours, example = time_to_accuracy.table(made_up)
    assert head[3] == "99 %"
    assert ours[:4] == ("fast-mnist", "2", "99.00 ± 0.10", "reached")
    assert ours[4:] == ("20.00 (10.00 to 40.00)", "40.00 (20.00 to 50.00)", *2 * ["1.00 (1.00 to 1.00)"])
    assert example[:4] == (EXAMPLE, "3", "98.90 ± 0.10", "not reached")
    assert example[4:6] == ("240.00 (200.00 to 600.00)", "280.00 (210.00 to 600.00)")
    assert example[6:] == ("15.00 (12.00 to 20.00)", "10.50 (7.00 to 12.00)")
    assert "Seeds 1, 2, 3:" in time_to_accuracy.page(made_up)


def test_one_seed_has_no_standard_deviation() -> None:
    (_, ours, _) = time_to_accuracy.table(results({"fast-mnist": (0.99, 1, 2), EXAMPLE: (0.99, 3, 4)}))
    assert ours[2:4] == ("99.00", "reached")


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Run the benchmark with fake processes, of which that of seed 13 fails, and return which it started."""
    monkeypatch.setattr(saved, "RESULTS", tmp_path)
    monkeypatch.setattr(time_to_accuracy, "unpack", lambda _: None)

    def measure(*words: str, status: int = 0) -> list[tuple[str, int]]:
        ran = []

        def process(command: list[str], cwd: Path) -> int:
            words = dict(word.removeprefix("--").split("=", 1) for word in command if "=" in word)
            ran.append((words.get("recipe", EXAMPLE), int(words["seed"])))
            file = words.get("output", f"{words.get('run_dir')}/metrics.json")
            Path(file).write_text(json.dumps({"test": {"accuracy": 0.99}, "train_seconds": 1.5}))
            return int(ran[-1][1] == 13)

        monkeypatch.setattr(processes, "run", process)
        monkeypatch.setattr("sys.argv", ["time_to_accuracy", *words])
        assert flags.status_of(time_to_accuracy.main) == status
        return ran

    return measure


def test_stopped_benchmark_is_resumed(benchmark: Runs, tmp_path: Path) -> None:
    words = ("--example-epochs", "3", "--save", "name")
    first = benchmark(*words, "--seeds", "1,13,2", status=1)
    assert first == [("fast-mnist", 1), (EXAMPLE, 1), ("fast-mnist", 13)]
    assert benchmark(*words, "--seeds", "1,2") == [("fast-mnist", 2), (EXAMPLE, 2)]
    found = json.loads((tmp_path / "name.json").read_text())
    assert [turn["seed"] for turn in found["turns"]] == [1, 2]
    assert found["turns"][0]["runs"][EXAMPLE]["train_seconds"] == 1.5
    assert (tmp_path / "name.md").read_text() == time_to_accuracy.page(found)


def test_different_settings_are_not_saved_together(
    benchmark: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--seeds", "1", "--save", "name")
    benchmark(*words)
    assert benchmark(*words, "--level", "98", status=2) == []
    assert "was measured with another level. Give --save another name." in capsys.readouterr().err
    assert benchmark(*words, "--example-epochs", "3", status=2) == []
    assert "another contender." in capsys.readouterr().err
    monkeypatch.setattr(time_to_accuracy, "read_recipe", lambda _: {"epochs": 5})
    assert benchmark(*words, status=2) == []


def test_unknown_recipe_is_refused(benchmark: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("--recipes", "fast-mnits", status=2) == []
    assert "there is no recipe 'fast-mnits', did you mean 'fast-mnist'?" in capsys.readouterr().err
