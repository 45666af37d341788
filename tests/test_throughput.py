"""The benchmark of speed: its table, how it goes on, and that each of its ways trains."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import saved, throughput
from training import flags

WAYS = ("bare loop", "train.py", "DataLoader")


def turn(*rates: float) -> dict[str, float]:
    return dict(zip(WAYS, rates, strict=True))


def test_the_table() -> None:
    """Worked out by hand; train.py's median of the ratios, 0.8, is not the ratio of the medians, 450 / 500."""
    turns = [turn(1000, 800, 100), turn(500, 450, 300), turn(400, 200, 200)]
    head, bare, ours, loader = throughput.rows({"mlp": {"batches": 9, "turns": turns}}, batch_size=100)
    assert bare == ["mlp", "bare loop", "500 (400 to 1,000)", "200", "1.00", "2.00"]
    assert ours == ["mlp", "train.py", "450 (200 to 800)", "222.2", "0.80", "1.50"]
    assert loader == ["mlp", "DataLoader", "200 (100 to 300)", "500", "0.50", "1.00"]
    assert len(head) == len(bare)


def test_what_is_compiled_is_compared_with_what_is_compiled() -> None:
    rates = turn(1000, 800, 100) | {"bare loop, compiled": 4000.0, "train.py, compiled": 3000.0}
    *_, ours = throughput.rows({"mlp": {"turns": [rates]}}, batch_size=100)
    assert ours[1:] == ["train.py, compiled", "3,000 (3,000 to 3,000)", "33.33", "0.75", ""]


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int]]]:
    """The benchmark with these words, where nothing is trained: which turns it took."""
    monkeypatch.setattr(saved, "RESULTS", tmp_path)
    monkeypatch.setattr(throughput, "unpack", lambda _: None)
    monkeypatch.setattr(throughput, "choose_batches", lambda name, args: len(name))

    def take(*words: str, status: int = 0) -> list[tuple[str, int]]:
        took = []

        def measure(name: str, batches: int, args: argparse.Namespace) -> dict[str, float]:
            took.append((name, batches))
            return turn(3, 2, 1)

        monkeypatch.setattr(throughput, "measure", measure)
        monkeypatch.setattr("sys.argv", ["throughput", *words, "--save", "name"])
        assert flags.status_of(throughput.main) == status
        return took

    return take


def test_it_adds_the_turns_that_are_lacking(benchmark: Callable[..., Any], tmp_path: Path) -> None:
    assert benchmark("--models", "mlp", "--turns", "1") == [("mlp", 3)]
    assert benchmark("--models", "mlp", "lenet", "--turns", "2") == [("lenet", 5), ("mlp", 3), ("lenet", 5)]
    found = json.loads((tmp_path / "name.json").read_text())
    assert {name: len(measured["turns"]) for name, measured in found["networks"].items()} == {"mlp": 2, "lenet": 2}
    assert (tmp_path / "name.md").read_text() == throughput.markdown(found)
    assert ", mnist, 2 turns." in throughput.markdown(found)


def test_turns_of_two_kinds_are_not_mixed(
    benchmark: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark("--models", "mlp")
    before = (tmp_path / "name.json").read_bytes()
    assert benchmark("--models", "mlp", "--turns", "9", "--batch-size", "64", status=2) == []
    assert "was measured with another batch_size. Give --save another name." in capsys.readouterr().err
    assert (tmp_path / "name.json").read_bytes() == before


ARGUMENTS = argparse.Namespace(batch_size=32, image_size=28, data="mnist")


@pytest.mark.parametrize("way", ["bare loop", "Lightning alone", "train.py"])
def test_each_way_trains(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [])
    assert throughput.WAYS[way]("softmax_regression", 4, ARGUMENTS) > 0


def test_a_way_is_gone_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(throughput.WAYS, "bare loop")  # which the other process does not know
    assert throughput.go_alone("bare loop", "softmax_regression", 4, ARGUMENTS) > 0
