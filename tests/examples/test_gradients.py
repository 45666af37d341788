"""Test each formula of gradients.py and convolution_gradients.py against autograd over random shapes, in float64."""

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from conftest import run_example
from torch import Tensor, nn

SEEDS = range(12)
LESSONS = {"gradients": 9, "convolution_gradients": 5}  # rows of their tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gradients")


@pytest.fixture(scope="module")
def example(folder: Path) -> SimpleNamespace:
    """Run both lessons, and return what they have defined."""
    return SimpleNamespace(**{k: v for name in LESSONS for k, v in run_example(name, folder, "--quick").items()})


@pytest.fixture(params=SEEDS)
def draw(request: pytest.FixtureRequest) -> random.Random:
    """Seed torch, and return the generator of the shapes."""
    torch.manual_seed(request.param)
    return random.Random(request.param)


def normal(*shape: int) -> Tensor:
    """Draw inputs of which autograd records the gradients."""
    return torch.randn(shape, dtype=torch.float64).requires_grad_()


def detached(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach() for tensor in tensors]


def assert_gradients(actual: Sequence[Tensor], y: Tensor, inputs: Sequence[Tensor], dy: Tensor | None = None) -> None:
    expected = torch.autograd.grad(y, inputs, dy)
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_softmax_jacobian_of_each_example_is_that_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    z = normal(draw.randint(1, 4), draw.randint(1, 6)).detach() * 5
    expected = [torch.autograd.functional.jacobian(lambda row: F.softmax(row, dim=0), row) for row in z]
    torch.testing.assert_close(example.softmax_jacobian(z), torch.stack(expected), rtol=1e-10, atol=1e-10)


def test_softmax_gradient_is_that_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    z = normal(draw.randint(1, 4), draw.randint(1, 6))
    dp = torch.randn_like(z)
    assert_gradients(example.softmax_gradient(*detached(z, dp)), F.softmax(z, dim=1), [z], dp)


def test_softmax_of_large_logits_does_not_overflow(example: SimpleNamespace) -> None:
    z = torch.tensor([[1000.0, 1000.0, -1000.0]], dtype=torch.float64)
    assert example.softmax(z).tolist() == [[0.5, 0.5, 0.0]]


def test_cross_entropy_gradient_is_that_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    examples, classes = draw.randint(1, 5), draw.randint(2, 6)
    z, labels = normal(examples, classes), torch.randint(classes, (examples,))
    one_hot = F.one_hot(labels, classes).double()
    assert_gradients(example.cross_entropy_gradient(z.detach(), one_hot), F.cross_entropy(z, labels), [z])
    distributions = torch.rand_like(z).softmax(dim=1)
    loss = F.cross_entropy(z, distributions)
    assert_gradients(example.cross_entropy_gradient(z.detach(), distributions), loss, [z])


def test_linear_gradients_are_those_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    batch, inputs, outputs = (draw.randint(1, 6) for _ in range(3))
    x, w, b = normal(batch, inputs), normal(outputs, inputs), normal(outputs)
    y = F.linear(x, w, b)
    dy = torch.randn_like(y)
    assert_gradients(example.linear_gradients(*detached(x, w, b, dy)), y, [x, w, b], dy)


def test_back_propagation_through_any_depth_is_that_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    batch, widths = draw.randint(1, 5), [draw.randint(1, 6) for _ in range(draw.randint(2, 6))]
    layers = [nn.Linear(a, b).double() for a, b in pairwise(widths)]
    network = nn.Sequential(*(module for layer in layers for module in (layer, nn.Sigmoid())))
    x, y = normal(batch, widths[0]).detach(), torch.rand(batch, widths[-1], dtype=torch.float64)
    cost = F.mse_loss(network(x), y, reduction="sum") / 2 / batch
    parameters = list(network.parameters())
    torch.testing.assert_close(example.mlp_cost(*detached(*parameters), x=x, y=y), cost.detach())
    assert_gradients(example.mlp_gradients(*detached(*parameters), x=x, y=y), cost, parameters)


def test_convolution_gradients_are_those_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    stride, padding = draw.randint(1, 3), draw.randint(0, 2)
    kernel = (draw.randint(1, 4), draw.randint(1, 4))
    height, width = (size + draw.randint(0, 6) for size in kernel)  # the last rows may belong to no window
    batch, channels, maps = draw.choice([1, 3]), draw.randint(1, 4), draw.randint(1, 4)
    x, w, b = normal(batch, channels, height, width), normal(maps, channels, *kernel), normal(maps)
    y = F.conv2d(x, w, b, stride, padding)
    dy = torch.randn_like(y)
    assert_gradients(example.convolution_gradients(*detached(x, w, b, dy), stride, padding), y, [x, w, b], dy)


@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling_gradient_is_that_of_autograd_also_where_maxima_are_equal(
    example: SimpleNamespace, draw: random.Random, ties: bool
) -> None:
    x, window = pooling(draw)
    if ties:
        x = x.detach().round().clamp(-1, 1).requires_grad_()
    y = F.max_pool2d(x, *window)
    dy = torch.randn_like(y)
    assert_gradients(example.max_pooling_gradient(*detached(x, dy), *window), y, [x], dy)


def test_average_pooling_gradient_is_that_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    x, window = pooling(draw)
    y = F.avg_pool2d(x, *window)
    dy = torch.randn_like(y)
    assert_gradients(example.average_pooling_gradient(*detached(x, dy), *window), y, [x], dy)


def pooling(draw: random.Random) -> tuple[Tensor, tuple[int, int, int]]:
    """Return images, and the size, stride and padding of a window; windows may overlap or leave gaps."""
    size, stride = draw.randint(1, 4), draw.randint(1, 5)
    images = normal(draw.choice([1, 3]), draw.randint(1, 4), size + draw.randint(0, 6), size + draw.randint(0, 6))
    return images, (size, stride, draw.randint(0, size // 2))


def test_batch_norm_gradients_are_those_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    channels, eps = draw.randint(1, 4), draw.choice([1e-5, 0.1])
    x = normal(draw.choice([1, 4]), channels, draw.randint(2, 4), draw.randint(2, 4))
    gamma, beta = normal(channels), normal(channels)
    y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=eps)
    dy = torch.randn_like(y)
    actual = example.batch_norm_gradients(*detached(x, gamma, beta, dy), eps)
    assert_gradients(actual, y, [x, gamma, beta], dy)


def test_gradients_of_penalties_are_those_of_autograd_also_at_zero(
    example: SimpleNamespace, draw: random.Random
) -> None:
    w, strength = normal(draw.randint(1, 5), draw.randint(1, 5)), draw.uniform(0.01, 10)
    w = w.detach().clone().index_fill(0, torch.tensor([0]), 0.0).requires_grad_()
    assert_gradients(example.l2_gradient(w.detach(), strength), strength / 2 * w.square().sum(), [w])
    assert_gradients(example.l1_gradient(w.detach(), strength), strength * w.norm(p=1), [w])


def test_back_propagation_through_time_is_that_of_torch_rnn(example: SimpleNamespace, draw: random.Random) -> None:
    steps, batch, inputs, hidden = (draw.randint(1, 6) for _ in range(4))
    network = nn.RNN(inputs, hidden).double()
    xs, h = normal(steps, batch, inputs), normal(1, batch, hidden)
    states, _ = network(xs, h)
    dhs = torch.randn_like(states)
    w, u, b, second_b = network.parameters()  # torch has the transposed weights, and two biases
    arguments = detached(xs, h[0], w.T, u.T, b + second_b)
    torch.testing.assert_close(example.rnn(*arguments), states.detach(), rtol=1e-10, atol=1e-10)
    dxs, dh, dw, du, db = example.rnn_gradients(*arguments, dhs)
    assert_gradients([dxs, dh[None], dw.T, du.T, db], states, [xs, h, w, u, b], dhs)


def test_one_step_of_an_rnn_has_the_gradients_of_autograd(example: SimpleNamespace, draw: random.Random) -> None:
    batch, inputs, hidden = (draw.randint(1, 6) for _ in range(3))
    arguments = [normal(batch, inputs), normal(batch, hidden), normal(inputs, hidden), normal(hidden, hidden)]
    arguments.append(normal(hidden))
    x, h, w, u, b = arguments
    y = torch.rnn_tanh_cell(x, h, w.T, u.T, b)
    dy = torch.randn_like(y)
    assert_gradients(example.step_gradients(*detached(*arguments, dy)), y, arguments, dy)


def test_central_differences_are_exact_for_a_quadratic_function(example: SimpleNamespace) -> None:
    x, y = normal(2, 3).detach(), normal(3).detach()
    before = x.clone()
    differences = example.compare.__globals__["central_differences"]
    dx, dy = differences(lambda x, y: (x**2 * y).sum() + y[0], [x, y], 0.5)
    torch.testing.assert_close(dx, 2 * x * y)
    torch.testing.assert_close(dy, (x**2).sum(dim=0) + torch.tensor([1.0, 0, 0]))
    assert torch.equal(x, before)


def test_wrong_formula_gets_a_large_difference_in_its_row(
    example: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    example.compare("wrong", lambda x, dy: (2 * dy,), lambda x: 3 * x, (4,))
    name, shapes, by_formula, by_differences = example.comparison.rows.pop()
    assert (name, shapes) == ("wrong", "4")
    assert by_formula > 0.1 > 1e-8 > by_differences
    assert capsys.readouterr().out.startswith("wrong ")


def test_difference_is_the_largest_of_all_draws(example: SimpleNamespace) -> None:
    wrong = iter([5.0, *([1.0] * (example.comparison.draws - 1))])  # for the first draw alone
    example.compare("wrong once", lambda x, dy: (next(wrong) * dy,), lambda x: 1 * x, (4,))
    assert example.comparison.rows.pop()[2] > 0.1


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.usefixtures("example")
def test_every_row_of_a_lesson_is_exact(folder: Path, lesson: str) -> None:
    rows = [line.strip("| ").split(" | ") for line in (folder / f"{lesson}.md").read_text().splitlines()[4:]]
    assert len({name for name, *_ in rows}) == len(rows) == LESSONS[lesson]
    assert all(float(formula) < 1e-13 and float(differences) < 1e-6 for *_, formula, differences in rows)
    assert (folder / f"{lesson}.png").read_bytes().startswith(b"\x89PNG")
