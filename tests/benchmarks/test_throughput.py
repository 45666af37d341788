"""Test the throughput benchmark: its table, how it is resumed, and that each way of training trains."""

import argparse
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks import saved, throughput
from benchmarks.throughput import Rates, Starts
from launch import errors, flags

WAYS = ("bare loop", "train.py", "DataLoader")


def turn(*rates: float) -> dict[str, float]:
    return dict(zip(WAYS, rates, strict=True))


def test_table_equals_values_computed_by_hand() -> None:
    """Compare with values worked out by hand; the median of the ratios, 0.8, is not the ratio of the medians, 0.9."""
    networks = {"mlp": {"batches": 9, "turns": [[turn(1000, 800, 100), turn(500, 450, 300)], [turn(400, 200, 200)]]}}
    head, bare, ours, loader = throughput.rows(networks, batch_size=100)
    assert bare[1:] == ["bare loop", "500 (450 to 750)", "200", "1.00 (1.00 to 1.00)", "2.00 (1.83 to 6.00)"]
    assert ours[1:] == ["train.py", "450 (325 to 625)", "222.2", "0.80 (0.65 to 0.85)", "1.50 (1.25 to 4.75)"]
    assert loader[1:] == ["DataLoader", "200 (150 to 250)", "500", "0.50 (0.30 to 0.55)", "1.00 (1.00 to 1.00)"]
    assert len(head) == len(bare)
    head, short = throughput.in_short(networks, batch_size=100)
    assert short == ["mlp", "200", "0.80", "1.50"]
    assert len(head) == len(short)


def test_ways_with_a_setting_are_compared_with_the_bare_loop_that_has_it() -> None:
    rates = turn(1000, 800, 100) | {"bare loop, compile=true": 4000.0, "train.py, compile=true": 3000.0}
    *_, ours = throughput.rows({"mlp": {"turns": [[rates, rates]]}}, batch_size=100)
    assert ours[1:] == ["train.py, compile=true", "3,000 (3,000 to 3,000)", "33.33", "0.75 (0.75 to 0.75)", ""]


def test_table_of_gains_says_when_compiling_pays() -> None:
    """An epoch of 55,000 images takes 55 s at 1,000 a second and 44 s at 1,250: 30 s are won back in the third."""
    starts = [{"train.py": 8.0, "train.py, compile=true": 38.0}]
    faster, slower = ({"train.py": 1000.0, "train.py, compile=true": rate} for rate in (1250.0, 800.0))
    networks = {name: {"turns": [[rates] * 2], "starts": starts} for name, rates in (("a", faster), ("b", slower))}
    _, gains, loses = throughput.gains(networks, "compile=true")
    assert gains == ["a", "1,000", "1,250", "1.25 (1.25 to 1.25)", "30", "3"]
    assert loses == ["b", "1,000", "800", "0.80 (0.80 to 0.80)", "30", "never"]


def test_brief_table_has_no_ratio_to_what_was_not_measured() -> None:
    networks = {"mlp": {"turns": [[{"bare loop": 1000.0, "train.py": 900.0}] * 2]}}
    _, _, ours = throughput.rows(networks, batch_size=100)
    assert ours[-2:] == ["0.90 (0.90 to 0.90)", ""]
    assert throughput.in_short(networks, batch_size=100)[1] == ["mlp", "100", "0.90", ""]


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, int]]]:
    """Run the benchmark without training, and return which turns it took."""
    monkeypatch.setattr(saved, "RESULTS", tmp_path)
    monkeypatch.setattr(throughput, "unpack", lambda _: None)
    monkeypatch.setattr(throughput, "choose_batches", lambda name, args: len(name))

    def take(*words: str, status: int = 0) -> list[tuple[str, int]]:
        took = []

        def measure(name: str, batches: int, args: argparse.Namespace) -> tuple[list[Rates], Starts]:
            took.append((name, batches))
            return 2 * [turn(3, 2, 1)], turn(5, 6, 7)

        monkeypatch.setattr(throughput, "measure", measure)
        monkeypatch.setattr("sys.argv", ["throughput", *words, "--save", "name"])
        assert flags.status_of(throughput.main) == status
        return took

    return take


def test_missing_turns_are_measured_and_added(benchmark: Callable[..., Any], tmp_path: Path) -> None:
    assert benchmark("--models", "mlp", "--turns", "1") == [("mlp", 3)]
    assert benchmark("--models", "mlp", "lenet", "--turns", "2") == [("lenet", 5), ("mlp", 3), ("lenet", 5)]
    found = json.loads((tmp_path / "name.json").read_text())
    assert {name: len(measured["turns"]) for name, measured in found["networks"].items()} == {"mlp": 2, "lenet": 2}
    assert (tmp_path / "name.md").read_text() == throughput.page(found)
    assert " rounds in each of 2 turns;" in throughput.page(found)


def test_different_settings_are_not_saved_together(
    benchmark: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark("--models", "mlp")
    before = (tmp_path / "name.json").read_bytes()
    assert benchmark("--models", "mlp", "--turns", "9", "--batch-size", "64", status=2) == []
    assert "was measured with another batch_size. Give --save another name." in capsys.readouterr().err
    assert (tmp_path / "name.json").read_bytes() == before


@pytest.fixture
def arguments(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(batch_size=32, image_size=28, data="mnist", folder=tmp_path)


@pytest.mark.parametrize("way", ["bare loop", "Lightning alone"])
def test_each_way_trains(way: str, arguments: argparse.Namespace) -> None:
    served = []

    def pace(batches: Iterable[Any]) -> Iterator[Any]:
        for batch in islice(batches, 3):
            served.append([each.shape for each in batch])
            yield batch

    throughput.WAYS[way]("softmax_regression", pace, arguments)
    assert served == 3 * [[(32, 1, 28, 28), (32,)]]


@pytest.mark.slow
def test_train_py_takes_turns_with_the_bare_loop(arguments: argparse.Namespace) -> None:
    ways = ["train.py", "bare loop"]
    rounds, starts = throughput.take_turns(ways, "softmax_regression", batches=4, rounds=2, args=arguments)
    assert [list(rates) for rates in rounds] == [ways, ways]
    assert all(value > 0 for values in (*rounds, starts) for value in values.values())
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_failing_way_is_reported(arguments: argparse.Namespace) -> None:
    with pytest.raises(errors.RunFailed, match=r"^lennet does not train to the end of its rounds\.$"):
        throughput.take_turns(["bare loop"], "lennet", batches=4, rounds=1, args=arguments)
    assert multiprocessing.active_children() == []
