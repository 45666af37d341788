"""Compare every configured optimizer with its update rule, written here in NumPy without torch.optim."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.testing import assert_allclose
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from training.module import parameter_groups

CONFIGS = ROOT / "configs"
FILES = sorted((CONFIGS / "optimizer").glob("*.yaml"))
NAMES = [file.stem for file in FILES]
every_optimizer = pytest.mark.parametrize("name", NAMES)

# The rules begin at x and yield one point for each rate of `rates`.

Gradient = Callable[[np.ndarray], np.ndarray]
Rule = Callable[..., Iterator[np.ndarray]]


def sgd(x: np.ndarray, gradient: Gradient, rates: Iterable[float]) -> Iterator[np.ndarray]:
    for lr in rates:
        x = x - lr * gradient(x)
        yield x


def momentum(x: np.ndarray, gradient: Gradient, rates: Iterable[float], momentum: float) -> Iterator[np.ndarray]:
    """Follow the course notes, with the rate inside the velocity; torch has it outside."""
    v = np.zeros_like(x)
    for lr in rates:
        v = momentum * v + lr * gradient(x)
        x = x - v
        yield x


def nesterov(x: np.ndarray, gradient: Gradient, rates: Iterable[float], momentum: float) -> Iterator[np.ndarray]:
    """Follow Sutskever et al., 2013, (3) and (4). Yield the look-ahead points, which torch's parameters are."""
    v = np.zeros_like(x)
    for lr in rates:
        v = momentum * v - lr * gradient(x + momentum * v)
        x = x + v
        yield x + momentum * v


def adagrad(x: np.ndarray, gradient: Gradient, rates: Iterable[float], eps: float) -> Iterator[np.ndarray]:
    s = np.zeros_like(x)
    for lr in rates:
        g = gradient(x)
        s = s + g**2
        x = x - lr * g / (np.sqrt(s) + eps)
        yield x


def rmsprop(
    x: np.ndarray, gradient: Gradient, rates: Iterable[float], alpha: float, eps: float
) -> Iterator[np.ndarray]:
    s = np.zeros_like(x)
    for lr in rates:
        g = gradient(x)
        s = alpha * s + (1 - alpha) * g**2
        x = x - lr * g / (np.sqrt(s) + eps)
        yield x


def adadelta(x: np.ndarray, gradient: Gradient, rates: Iterable[float], rho: float, eps: float) -> Iterator[np.ndarray]:
    s, u = np.zeros_like(x), np.zeros_like(x)
    for lr in rates:
        g = gradient(x)
        s = rho * s + (1 - rho) * g**2
        d = np.sqrt((u + eps) / (s + eps)) * g
        u = rho * u + (1 - rho) * d**2
        x = x - lr * d
        yield x


def adam(
    x: np.ndarray, gradient: Gradient, rates: Iterable[float], betas: list[float], eps: float
) -> Iterator[np.ndarray]:
    return adamw(x, gradient, rates, betas, eps, decay=np.zeros_like(x))


def adamw(
    x: np.ndarray, gradient: Gradient, rates: Iterable[float], betas: list[float], eps: float, decay: np.ndarray
) -> Iterator[np.ndarray]:
    m, s = np.zeros_like(x), np.zeros_like(x)
    for t, lr in enumerate(rates, start=1):
        g = gradient(x)
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g**2
        m_corrected, s_corrected = m / (1 - betas[0] ** t), s / (1 - betas[1] ** t)
        x = x - lr * m_corrected / (np.sqrt(s_corrected) + eps) - lr * decay * x
        yield x


RULES: dict[
    str, tuple[Rule, list[str]]
] = {  # each rule, and values other than those of its YAML at which it must hold, too
    "sgd": (sgd, ["lr=0.03"]),
    "momentum": (momentum, ["lr=0.03", "momentum=0.5"]),
    "nesterov": (nesterov, ["lr=0.03", "momentum=0.5"]),
    "adagrad": (adagrad, ["lr=0.1", "eps=0.01"]),
    "rmsprop": (rmsprop, ["lr=0.01", "alpha=0.99", "eps=0.01"]),
    "adadelta": (adadelta, ["lr=0.5", "rho=0.95", "eps=0.01"]),
    "adam": (adam, ["lr=0.01", "betas=[0.5,0.9]", "eps=0.01"]),
    "adamw": (adamw, ["lr=0.01", "betas=[0.5,0.9]", "eps=0.01"]),
}


# The problem: f(x) = x'Ax / 2 - b'x - sum(cos x), where x is a layer's six weights and then its two biases.

START = np.linspace(-1.0, 1.5, 8)
A = np.diag(np.linspace(0.5, 2.0, 8)) + 0.3
B = np.linspace(2.0, -1.0, 8) ** 3
IS_WEIGHT = np.array([1.0] * 6 + [0.0] * 2)
STEPS = 6


def slope(x: np.ndarray) -> np.ndarray:
    return A @ x - B + np.sin(x)


@cache  # composing takes longer than all steps
def composed(name: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", [f"optimizer={name}"]).optimizer


def configured(name: str, *overrides: str) -> DictConfig:
    config = OmegaConf.merge(composed(name), OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(config, DictConfig)
    return config


def make(network: nn.Module, name: str, *overrides: str) -> torch.optim.Optimizer:
    """Make an optimizer as train.py does."""
    return instantiate(configured(name, *overrides), _convert_="all")(parameter_groups(network))


class TorchOptimizer:
    """Run torch's optimizer on a layer whose parameters begin at START."""

    def __init__(self, name: str, *overrides: str, dtype: torch.dtype = torch.float64) -> None:
        self.layer = nn.Linear(3, 2, dtype=dtype)
        vector_to_parameters(torch.tensor(START, dtype=dtype), self.layer.parameters())
        self.optimizer = make(self.layer, name, *overrides)

    def steps_from_start(self, steps: int = STEPS, gradient: Gradient = slope) -> np.ndarray:
        """Return the positions (steps, 8) after each step, relative to START."""
        points = []
        for _ in range(steps):
            slopes = torch.from_numpy(gradient(self.point())).to(self.layer.weight.dtype).split([6, 2])
            for parameter, grad in zip(self.layer.parameters(), slopes, strict=True):
                parameter.grad = grad.view_as(parameter)
            self.optimizer.step()
            points.append(self.point())
        return np.array(points) - START

    def point(self) -> np.ndarray:
        return parameters_to_vector(self.layer.parameters()).detach().double().numpy()


def expected(name: str, *overrides: str, rates: list[float] | None = None) -> np.ndarray:
    """Return the positions (steps, 8) after each step of the rule, relative to START, with the configured values."""
    values: Any = OmegaConf.to_container(configured(name, *overrides))
    rates = rates or [values["lr"]] * STEPS
    decay = values["weight_decay"] * IS_WEIGHT  # biases do not decay
    for key in ("_target_", "_partial_", "fused", "nesterov", "lr", "weight_decay"):
        values.pop(key, None)
    rule = RULES[name][0]
    if name == "adamw":
        points = rule(START, slope, rates, **values, decay=decay)
    else:
        points = rule(START, lambda x: slope(x) + decay * x, rates, **values)
    return np.array(list(points)) - START


def test_every_optimizer_has_a_rule() -> None:
    assert sorted(RULES) == NAMES


@every_optimizer
@pytest.mark.parametrize("weight_decay", [None, 0.0, 0.3])
def test_steps_equal_the_update_rule(name: str, weight_decay: float | None) -> None:
    for others in ([], RULES[name][1]):
        overrides = others if weight_decay is None else [*others, f"weight_decay={weight_decay}"]
        assert_allclose(
            TorchOptimizer(name, *overrides).steps_from_start(), expected(name, *overrides), rtol=1e-10, atol=1e-13
        )


@every_optimizer
def test_step_after_a_change_of_rate_differs_from_the_rule_by_the_velocity_only(name: str) -> None:
    """Expect a difference where the velocity of the rule contains the rate, which torch's velocity v does not.

    At the change torch subtracts after * (momentum * v + g), and the notes before * momentum * v + after * g: torch's x
    is greater by (before - after) * momentum * v. The look-ahead multiplies v by the momentum once more. The other
    rules keep no rate in their state, and continue unchanged.
    """
    before = configured(name)["lr"]
    after = before / 4
    ours = TorchOptimizer(name)
    ours.steps_from_start(STEPS)
    power = {"momentum": 1, "nesterov": 2}.get(name)
    difference = np.zeros_like(START)
    if power:
        velocity = parameters_to_vector([ours.optimizer.state[p]["momentum_buffer"] for p in ours.layer.parameters()])
        difference = (before - after) * configured(name)["momentum"] ** power * velocity.numpy()
        assert np.abs(difference).min() > 1e-3
    for group in ours.optimizer.param_groups:
        group["lr"] = after
    of_torch = ours.steps_from_start(1)[-1]
    of_the_rule = expected(name, rates=[before] * STEPS + [after])[-1]
    assert_allclose(of_torch - of_the_rule, difference, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop"])
def test_eps_added_to_the_root_differs_from_eps_under_the_root_within_bounds(name: str) -> None:
    """Bound the ratio r of our step, by sqrt(s) + eps as in torch, to that of the course notes, by sqrt(s + eps).

    r = sqrt(s + eps) / (sqrt(s) + eps) is least at s = 1, where it is 1 / sqrt(1 + eps). It is below sqrt(1 + eps / s),
    so that the two agree where s is large, and goes to 1 / sqrt(eps), 1000 for 1e-6, where s goes to 0.
    """
    values = configured(name)
    lr, eps = values["lr"], values["eps"]
    slopes = np.logspace(-8, 6, 8)
    positions = TorchOptimizer(name).steps_from_start(gradient=lambda x: slopes)
    t = np.arange(1, STEPS + 1)[:, None]
    s = slopes**2 * (t if name == "adagrad" else 1 - values["alpha"] ** t)
    r = -np.diff(positions, axis=0, prepend=0) / (lr * slopes / np.sqrt(s + eps))
    rounding = 1e-9
    assert (r >= 1 / np.sqrt(1 + eps) - rounding).all()
    assert (r <= np.minimum(np.sqrt(1 + eps / s), 1 / np.sqrt(eps)) * (1 + rounding)).all()
    assert (np.abs(r[:, slopes > 1] - 1) < eps).all()
    assert (r[:, slopes <= eps] > 100).all()


@pytest.mark.parametrize("name", [file.stem for file in FILES if "fused" in OmegaConf.load(file)])
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_fused_steps_equal_plain_steps(name: str, dtype: torch.dtype, rounding: float) -> None:
    fused, plain = TorchOptimizer(name, dtype=dtype), TorchOptimizer(name, "fused=false", dtype=dtype)
    assert [ours.optimizer.defaults["fused"] for ours in (fused, plain)] == [True, False]
    assert_allclose(fused.steps_from_start(), plain.steps_from_start(), rtol=rounding, atol=rounding)


@every_optimizer
def test_optimizer_reduces_the_loss_of_a_linear_model(name: str) -> None:
    torch.manual_seed(1)
    points = torch.randn(64, 20)
    labels = (points @ torch.randn(20) > 0).long()
    network = nn.Linear(20, 2)
    optimizer = make(network, name)
    losses = []
    for _ in range(50 + 1):
        loss = F.cross_entropy(network(points), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("name", "values", "of_torch"),
    [
        ("momentum", {"momentum": 0.9}, {}),
        ("nesterov", {"momentum": 0.9}, {}),
        ("adagrad", {"eps": 1e-6}, {"eps": 1e-10}),
        ("rmsprop", {"alpha": 0.9, "eps": 1e-6}, {"alpha": 0.99, "eps": 1e-8}),
        ("adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-5}, {"rho": 0.9, "eps": 1e-6}),
        ("adam", {"betas": [0.9, 0.999], "eps": 1e-6}, {"eps": 1e-8}),
        ("adamw", {"betas": [0.9, 0.999], "eps": 1e-8}, {"eps": 1e-8}),
    ],
)
def test_default_values_are_those_of_the_course_notes(
    name: str, values: dict[str, Any], of_torch: dict[str, Any]
) -> None:
    """Compare with the code of Dive into Deep Learning, which has no AdamW, and torch's defaults with the comments."""
    config = configured(name)
    assert {key: config[key] for key in values} == values
    defaults = inspect.signature(getattr(torch.optim, config["_target_"].removeprefix("torch.optim."))).parameters
    assert {key: defaults[key].default for key in of_torch} == of_torch
