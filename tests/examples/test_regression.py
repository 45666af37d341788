"""Test the methods of examples/regression.py against other implementations, and its run."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run_example
from torch import Tensor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("regression")


@pytest.fixture(scope="module")
def example(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(**run_example("regression", folder, "--quick"))


@pytest.fixture(params=range(6))
def seed(request: pytest.FixtureRequest) -> int:
    torch.manual_seed(request.param)
    return request.param


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def assert_close(actual: Tensor, expected: Tensor | np.ndarray, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_ridge_is_least_squares_on_the_augmented_system(example: SimpleNamespace, seed: int, strength: float) -> None:
    x, y = normal(12, seed + 1) + 3, normal(12)
    coefficients, intercept = example.ridge(x, y, strength)
    penalty = torch.cat([strength**0.5 * torch.eye(seed + 1), torch.zeros(seed + 1, 1)], dim=1)  # not of the intercept
    augmented = torch.cat([torch.cat([x, torch.ones(12, 1)], dim=1), penalty])
    solution = torch.linalg.lstsq(augmented, torch.cat([y, normal(seed + 1) * 0])[:, None]).solution[:, 0]
    assert_close(torch.cat([coefficients, intercept[None]]), solution)


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_polynomial_regression_without_penalty_is_numpy_polyfit(
    example: SimpleNamespace, seed: int, degree: int
) -> None:
    x, y, queries = normal(20), normal(20), normal(5)
    expected = np.asarray(np.polyval(np.polyfit(x, y, degree), queries))
    assert_close(example.polynomial_regression(x, y, queries, degree), expected, 1e-7)


def test_locally_weighted_regression_is_a_weighted_fit_at_each_query(example: SimpleNamespace, seed: int) -> None:
    x, y, queries = normal(15), normal(15), normal(4)
    bandwidth = 0.3 + 0.2 * seed
    actual = example.locally_weighted_regression(x, y, queries, bandwidth)
    roots = [np.exp(-((x.numpy() - query) ** 2) / (4 * bandwidth**2)) for query in queries.numpy()]  # of the weights
    fits = [np.polyfit(x, y, 1, w=root) for root in roots]
    assert_close(actual, np.array([np.polyval(fit, query) for fit, query in zip(fits, queries.numpy(), strict=True)]))


def test_locally_weighted_regression_with_a_huge_bandwidth_is_linear_regression(
    example: SimpleNamespace, seed: int
) -> None:
    x, y, queries = normal(15), normal(15), normal(4)
    expected = np.asarray(np.polyval(np.polyfit(x, y, 1), queries))
    assert_close(example.locally_weighted_regression(x, y, queries, 1e6), expected)


@pytest.mark.parametrize("bandwidth", [0.02, 0.1, 1.0, 1e4])
def test_locally_weighted_regression_reproduces_a_straight_line(example: SimpleNamespace, bandwidth: float) -> None:
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    queries = torch.linspace(-1.05, 1.05, 30, dtype=torch.float64)
    values = example.locally_weighted_regression(x, 3 - 2 * x, queries, bandwidth)
    assert_close(values, 3 - 2 * queries, 1e-9)


def test_settings_were_chosen_on_validation_points_and_errors_are_those_of_others(example: SimpleNamespace) -> None:
    for name, (regression, settings) in example.methods.items():
        for number, (train, val, held_out) in enumerate(example.data_sets):
            errors = [((regression(*train, val[0], each) - val[1]) ** 2).mean().item() for each in settings]
            assert example.chosen[name][number] == settings[int(np.nanargmin(errors))]
            left = regression(*train, held_out[0], example.chosen[name][number]) - held_out[1]
            assert example.held_out[name][number] == pytest.approx((left**2).mean().item() ** 0.5)
    linear, *others = (np.median(errors) for errors in example.held_out.values())
    assert linear > 0.25
    assert all(0.1 < error < 0.2 for error in others)  # the noise is 0.1


def test_samples_have_the_noise_that_the_table_names(example: SimpleNamespace) -> None:
    x, y = example.sample(20000)
    assert x.abs().max() <= 1
    assert abs(x.mean()) < 0.02
    assert (y - 1 / (1 + 25 * x**2)).std().item() == pytest.approx(0.1, rel=0.03)


def test_run_writes_its_table_and_plot(example: SimpleNamespace, folder: Path) -> None:
    rows = (folder / "regression.md").read_text(encoding="utf-8").splitlines()[3:]
    assert [row.split(" | ")[0] for row in rows[2:]] == [f"| {name}" for name in example.methods]
    assert len({row.count("|") for row in rows}) == 1
    assert (folder / "regression.png").read_bytes().startswith(b"\x89PNG")
