"""Test the benchmark of batch and image sizes: where it stops, how it is resumed, and its tables."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import growth, saved
from launch import flags

Growth = Callable[..., list[tuple[str, int, int]]]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Growth:
    """Run the benchmark with fake costs and return what it measured.

    A batch of 28 x 28 images takes 32 ms whatever its size; a larger image takes 100 ms per pixel of its width.
    """
    monkeypatch.setattr(saved, "RESULTS", tmp_path)

    def take(*words: str, status: int = 0) -> list[tuple[str, int, int]]:
        took = []

        def cost(name: str, batch_size: int, image_size: int, steps: int = 2) -> float:
            took.append((name, batch_size, image_size))
            return 32 / batch_size if image_size == 28 else 100.0 * image_size

        monkeypatch.setattr(growth, "cost", cost)
        monkeypatch.setattr("sys.argv", ["growth", *words, "--save", "name"])
        assert flags.status_of(growth.main) == status
        return took

    return take


def test_networks_are_measured_by_batch_size_and_where_possible_by_image_size(measure: Growth, tmp_path: Path) -> None:
    took = measure("--models", "mlp", "nin", "--turns", "2", "--batch-size", "8")
    batches = [32, 64, 128, 256, 512, 1024, 2048, 4096]
    expected = [(name, size, 28) for name in ("mlp", "nin") for size in batches for _ in range(2)]
    expected += [("nin", 8, size) for size in (28, 96, 128, 160, 192, 224) for _ in range(2)]
    assert took == expected
    assert (tmp_path / "name.png").read_bytes().startswith(b"\x89PNG")


def test_batch_size_over_the_time_limit_is_left_out(measure: Growth) -> None:
    """A batch of 32 takes 32 ms, so one of 64 is expected to take 64 ms, over the limit of 63."""
    assert measure("--models", "mlp", "--turns", "1", "--seconds", "0.063") == [("mlp", 32, 28)]


def test_missing_networks_are_measured_and_added(
    measure: Growth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure("--models", "mlp", "--turns", "1")
    assert {name for name, *_ in measure("--models", "mlp", "lenet", "--turns", "1")} == {"lenet"}
    before = (tmp_path / "name.json").read_bytes()
    assert list(json.loads(before)["networks"]) == ["mlp", "lenet"]
    assert measure("--models", "rnn", "--turns", "2", status=2) == []
    assert "was measured with another turn. Give --save another name." in capsys.readouterr().err
    assert (tmp_path / "name.json").read_bytes() == before


def test_tables_hold_medians() -> None:
    """Compare with AlexNet's multiply-adds at 224 pixels, counted by hand from the paper's layers."""
    convolutions = 54**2 * 96 * 11**2 + 26**2 * 256 * 25 * 96 + 12**2 * 9 * (256 * 384 + 384 * 384 + 384 * 256)
    work = convolutions + 25 * 256 * 4096 + 4096 * 4096 + 4096 * 10
    found = {"by_batch_size": {"32": [3.0, 1.0, 2.0]}, "by_image_size": {"224": [work / 1e6 * 0.5]}}
    results = {"machine": "Abacus", "batch_size": 8, "seconds": 1, "turns": 3, "networks": {"alexnet": found}}
    lines = growth.page(results, "name").splitlines()
    assert "| alexnet | 2 |  |  |  |  |  |  |  |" in lines
    assert lines[-1] == "| alexnet |  |  |  |  |  | 0.500 |"
