"""Test the parts of examples/approximation.py against closed forms and other implementations."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import run_example
from torch import Tensor

SEEDS = range(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("approximation")


@pytest.fixture(scope="module")
def example(folder: Path) -> SimpleNamespace:
    pytest.importorskip("scipy")
    return SimpleNamespace(**run_example("approximation", folder, "--quick"))


@pytest.fixture(params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    torch.manual_seed(request.param)
    return request.param


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def assert_close(actual: Tensor, expected: Tensor | np.ndarray, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=tolerance, atol=tolerance)


# Polynomials


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_chebyshev_nodes_are_the_zeros_of_the_chebyshev_polynomial(example: SimpleNamespace, n: int) -> None:
    zeros = np.polynomial.chebyshev.chebroots([0] * n + [1])
    assert_close(example.chebyshev_nodes(n), np.sort(zeros), 1e-7)


@pytest.mark.parametrize("nodes", ["equidistant_nodes", "chebyshev_nodes"])
def test_interpolation_reproduces_its_nodes_and_every_polynomial_of_its_degree(
    example: SimpleNamespace, nodes: str, seed: int
) -> None:
    x, queries = getattr(example, nodes)(seed + 2), torch.linspace(-1, 1, 50, dtype=torch.float64)
    values = normal(seed + 2)
    assert_close(example.interpolate(x, values, x), values)
    coefficients = np.random.default_rng(seed).normal(size=seed + 2)
    values = torch.as_tensor(np.polyval(coefficients, x.numpy()))
    assert_close(example.interpolate(x, values, queries), np.polyval(coefficients, queries.numpy()))


def test_error_at_equidistant_nodes_grows_with_the_degree(example: SimpleNamespace) -> None:
    errors = [example.polynomial_error(example.equidistant_nodes(n)) for n in (11, 21, 31, 41)]
    assert errors == sorted(errors)
    assert errors[0] == pytest.approx(1.9156, abs=1e-3)  # the textbooks' figure for degree 10
    assert errors[-1] > 1e4


def test_error_at_chebyshev_nodes_falls_at_the_rate_of_the_poles(example: SimpleNamespace) -> None:
    n = torch.arange(21, 122, 20)
    errors = [example.polynomial_error(example.chebyshev_nodes(k)) for k in n.tolist()]
    rate = np.exp(np.polyfit(n.numpy(), np.log(errors), 1)[0])
    assert rate == pytest.approx(5 / (1 + math.sqrt(26)), rel=1e-3)


# Networks


def test_network_and_its_derivatives_are_those_of_torch(example: SimpleNamespace, seed: int) -> None:
    width = 2 * seed + 1
    parameters, x = normal(3 * width + 1), normal(7)
    w, b, v = parameters[:width], parameters[width : 2 * width], parameters[2 * width : -1]
    first, last = torch.nn.Linear(1, width).double(), torch.nn.Linear(width, 1).double()
    state = {"0.weight": w[:, None], "0.bias": b, "2.weight": v[None], "2.bias": parameters[-1:]}
    reference = torch.nn.Sequential(first, torch.nn.Tanh(), last)
    reference.load_state_dict(state)
    assert_close(example.network(parameters, x), reference(x[:, None]).detach()[:, 0])
    derivatives = torch.autograd.functional.jacobian(lambda p: example.network(p, x), parameters)
    assert isinstance(derivatives, Tensor)
    assert_close(example.tanh_jacobian(parameters, x), derivatives)


def test_initial_parameters_have_their_ranges_and_depend_on_the_seed(example: SimpleNamespace) -> None:
    width = 400
    drawn = example.initial_parameters(width, 1)
    w, b, v = drawn[:-1].view(3, width).abs()
    assert drawn[-1] == 0
    for values, bound in ((w, 1), (b, 1), (v, 1 / 20)):
        assert 0.98 * bound < values.max() <= bound
    assert torch.equal(drawn, example.initial_parameters(width, 1))
    assert not torch.equal(drawn, example.initial_parameters(width, 2))


@pytest.mark.parametrize(
    ("training", "steps", "bound"), [("train_adam", 300, 0.1), ("train_levenberg_marquardt", 15, 1e-8)]
)
def test_training_finds_the_parameters_of_a_unit_again(
    example: SimpleNamespace, training: str, steps: int, bound: float
) -> None:
    x = torch.linspace(-1, 1, 100, dtype=torch.float64)
    y = example.network(torch.tensor([2.0, 0.5, 1.0, 0.3], dtype=torch.float64), x)
    initial = torch.tensor([1.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    before = initial.clone()
    trained = getattr(example, training)(initial, x, y, steps)
    assert (example.network(trained, x) - y).abs().max() < bound
    assert torch.equal(initial, before)  # both trainings begin with the same parameters


@pytest.mark.parametrize(("p", "constant"), [(1, 1 / 12), (2, 1 / 3), (3, 1.0)])
def test_power_network_has_p_plus_1_units_and_an_error_of_order_h_squared(
    example: SimpleNamespace, p: int, constant: float
) -> None:
    assert len(example.power_network(p, 0.1)) == 3 * (p + 1) + 1
    h = torch.logspace(-2, -1, 11, dtype=torch.float64)
    errors = torch.tensor([example.power_error(p, step) for step in h.tolist()], dtype=torch.float64)
    assert np.polyfit(h.log(), errors.log(), 1)[0] == pytest.approx(2, abs=0.05)
    assert errors[0] / h[0] ** 2 == pytest.approx(constant, rel=0.01)
    assert example.slope(h, errors) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("p", [2, 3])
def test_rounding_error_of_second_and_third_power_grows_as_h_shrinks(example: SimpleNamespace, p: int) -> None:
    h = torch.logspace(-7, -5, 21, dtype=torch.float64)
    errors = torch.tensor([example.power_error(p, step) for step in h.tolist()], dtype=torch.float64)
    assert example.slope(h, errors) == pytest.approx(-2, abs=0.3)


def test_rounding_error_of_first_power_stays_at_machine_precision(example: SimpleNamespace) -> None:
    assert all(example.power_error(1, h) < 1e-15 for h in (1e-8, 1e-9, 1e-12))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_expansion_point_has_the_derivative_that_is_given(example: SimpleNamespace, p: int) -> None:
    b, given = example.EXPANSION_POINTS[p]
    x = torch.tensor(b, dtype=torch.float64, requires_grad=True)
    y = torch.tanh(x)
    for _ in range(p):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
    assert y.item() == pytest.approx(given, rel=1e-12)


def test_relu_network_is_numpy_interp(example: SimpleNamespace, seed: int) -> None:
    nodes, values = normal(seed + 2).sort().values, normal(seed + 2)
    parameters = example.relu_network(nodes, values)
    assert len(parameters) == 3 * (seed + 1) + 1  # one unit less than nodes
    x = torch.linspace(nodes[0].item(), nodes[-1].item(), 301, dtype=torch.float64)
    assert_close(example.network(parameters, x, torch.relu), np.asarray(np.interp(x, nodes, values)), 1e-9)


def test_relu_error_has_the_order_and_constant_of_the_theory(example: SimpleNamespace) -> None:
    units = torch.tensor([128, 256, 512])
    smooth = torch.tensor([example.relu_error(example.runge, n) for n in units.tolist()])
    assert example.slope(units, smooth) == pytest.approx(-2, abs=0.05)
    assert smooth[-1] * 512**2 == pytest.approx(25, rel=0.02)
    rough = torch.tensor([example.relu_error(example.root, n) for n in units.tolist()])
    assert rough / (2 / units).sqrt() * 4 == pytest.approx(torch.ones(3), rel=0.05)


def test_errors_are_those_of_different_initial_parameters(example: SimpleNamespace) -> None:
    for name, (train, steps) in example.trainings.items():
        for i, width in enumerate(example.widths):
            for seed in range(2):
                trained = train(
                    example.initial_parameters(width, seed), example.points, example.runge(example.points), steps
                )
                error = (example.network(trained, example.GRID) - 1 / (1 + 25 * example.GRID**2)).abs().max().item()
                assert example.errors[name][i, seed] == pytest.approx(error)
            assert example.errors[name][i, 0] != example.errors[name][i, 1]


def test_adam_takes_the_steps_of_torch_on_the_mean_squared_error(example: SimpleNamespace) -> None:
    start, x = example.initial_parameters(4, 1), torch.linspace(-1, 1, 20, dtype=torch.float64)
    w, b, v = (part.clone().requires_grad_() for part in start[:-1].view(3, -1))
    c = start[-1:].clone().requires_grad_()
    optimizer = torch.optim.Adam([w, b, v, c], lr=0.1)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 4)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(torch.tanh(torch.outer(x, w) + b) @ v + c, x**3).backward()
        optimizer.step()
    assert_close(example.train_adam(start, x, x**3, 4), torch.cat([w, b, v, c]).detach())


def test_run_writes_its_tables_and_plots(example: SimpleNamespace, folder: Path) -> None:
    text = (folder / "approximation.md").read_text(encoding="utf-8")
    assert text.count("| --- | --- |") >= 4 == len(example.tables)
    for block in text.strip().split("\n\n")[1::2]:  # title, table, title, table, ...
        assert len({row.count("|") for row in block.splitlines()}) == 1
    for plot in ("runge", "powers", "relu"):
        assert (folder / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
