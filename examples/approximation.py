"""Approximate functions by polynomials, tanh networks and ReLU networks, and measure the errors.

Source of the first one: Runge, "Über empirische Funktionen und die Interpolation zwischen äquidistanten Ordinaten",
1901.
"""

# %% [markdown]
# # Approximation
# How well can a function be approximated by a polynomial, or by a network, of a given size?

# %%
from start import read_flags

options = read_flags("approximation", __doc__, "scipy")

# %%
from collections.abc import Callable
from math import atanh, comb, sqrt

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.interpolate import BarycentricInterpolator
from scipy.optimize import least_squares
from torch import Tensor
from tqdm import tqdm

FLOAT = torch.float64
GRID = torch.linspace(-1, 1, 5001, dtype=FLOAT)  # where errors are measured
tables: list[str] = []


def show_table(title: str, header: str, rows: list[str]) -> None:
    """Print a Markdown table, and keep it for approximation.md."""
    lines = [f"{title}\n", *(f"| {row} |" for row in (header, " | ".join(["---"] * (header.count("|") + 1)), *rows))]
    tables.append("\n".join(lines) + "\n")
    print(tables[-1])


def largest_error(approximation: Tensor, function: Callable[[Tensor], Tensor]) -> float:
    """Return the largest error on GRID of an approximation, given by its values there."""
    return (approximation - function(GRID)).abs().max().item()


def slope(x: Tensor, y: Tensor) -> float:
    """Return the slope of the straight line through the points (log x, log y), by least squares."""
    return float(np.polyfit(x.log().numpy(), y.log().numpy(), 1)[0])


# %% [markdown]
# ## Runge's function and polynomials
# $f(x) = 1 / (1 + 25 x^2)$ is smooth. The polynomial of degree $n - 1$ through $n$ equidistant nodes nevertheless gets
# worse near -1 and 1 as $n$ grows. With Chebyshev nodes, which are denser there, the error falls like
# $1.22^{-n}$, where $1.22 = (1 + \sqrt{26}) / 5$ is given by the poles of $f$ at $\pm i/5$.


# %%
def runge(x: Tensor) -> Tensor:
    return 1 / (1 + 25 * x**2)


def equidistant_nodes(n: int) -> Tensor:
    return torch.linspace(-1, 1, n, dtype=FLOAT)


def chebyshev_nodes(n: int) -> Tensor:
    """Return the zeros of the Chebyshev polynomial of degree n, in ascending order."""
    return -torch.cos((torch.arange(n, dtype=FLOAT) + 0.5) * torch.pi / n)


def interpolate(nodes: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """Return the values at x of the polynomial through the points (nodes, values)."""
    return torch.from_numpy(BarycentricInterpolator(nodes.numpy(), values.numpy(), rng=1)(x.numpy()))


def polynomial_error(nodes: Tensor) -> float:
    return largest_error(interpolate(nodes, runge(nodes), GRID), runge)


widths = {"quick": [4, 8], "default": [8, 16, 32, 64, 128], "full": [8, 16, 32, 64, 128]}[options.size]  # of networks
parameter_counts = [3 * width + 1 for width in widths]
node_counts = sorted({*range(3, 50, 4), *range(65, 200, 16), *parameter_counts})  # odd: even degrees
equidistant = {n: polynomial_error(equidistant_nodes(n)) for n in node_counts if n < 100}
chebyshev = {n: polynomial_error(chebyshev_nodes(n)) for n in node_counts}
rows = [f"{n - 1} | {equidistant[n]:.1e} | {chebyshev[n]:.1e}" for n in node_counts if n < 50]
show_table("Runge's function: largest error of polynomials", "degree | equidistant nodes | Chebyshev nodes", rows)

# %% [markdown]
# ## Runge's function and tanh networks
# A network with one hidden layer of $m$ tanh units, $\sum_j v_j \tanh(w_j x + b_j) + c$, has $3 m + 1$ parameters. It
# is trained on 500 equidistant points, from the same random weights, by Adam, which sees the gradient of the mean
# squared error, and by Levenberg-Marquardt, which sees the derivatives of the network's value at every point. The error
# depends on the training as much as on the width.


# %%
def network(parameters: Tensor, x: Tensor, activation: Callable[[Tensor], Tensor] = torch.tanh) -> Tensor:
    """Map x (N) to the values (N) of the network whose parameters (3 m + 1) are w (m), b (m), v (m), c."""
    w, b, v = parameters[:-1].view(3, -1)
    return activation(x[:, None] * w + b) @ v + parameters[-1]


def tanh_jacobian(parameters: Tensor, x: Tensor) -> Tensor:
    """Return the derivatives (N, 3 m + 1) of the network's values with respect to its parameters."""
    w, b, v = parameters[:-1].view(3, -1)
    hidden = torch.tanh(x[:, None] * w + b)
    slopes = v * (1 - hidden**2)
    return torch.cat([slopes * x[:, None], slopes, hidden, torch.ones(len(x), 1, dtype=FLOAT)], dim=1)


def initial_parameters(width: int, seed: int) -> Tensor:
    """Draw w, b from [-1, 1] and v from [-1, 1] / sqrt(width), as torch.nn.Linear does; c is 0."""
    generator = torch.Generator().manual_seed(seed)
    w, b, v = 2 * torch.rand(3, width, dtype=FLOAT, generator=generator) - 1
    return torch.cat([w, b, v / width**0.5, torch.zeros(1, dtype=FLOAT)])


def train_adam(parameters: Tensor, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """Minimise the mean squared error; the learning rate falls linearly from 0.1 to 0."""
    parameters = parameters.clone().requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=0.1)  # of 0.003, 0.01, 0.03, 0.1, 0.3 the best after 2,000 steps
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (network(parameters, x) - y).square().mean().backward()
        optimizer.step()
        schedule.step()
    return parameters.detach()


def train_levenberg_marquardt(parameters: Tensor, x: Tensor, y: Tensor, evaluations: int) -> Tensor:
    """Minimise the sum of squared errors; `evaluations` limits the steps."""
    solution = least_squares(
        lambda p: (network(torch.from_numpy(p), x) - y).numpy(),
        parameters.numpy(),
        lambda p: tanh_jacobian(torch.from_numpy(p), x).numpy(),  # pyright: ignore[reportArgumentType]
        method="trf",  # without bounds: Levenberg-Marquardt; unlike "lm", it repeats its result to the last bit
        x_scale="jac",
        max_nfev=evaluations,
    )
    return torch.from_numpy(solution.x)


seeds = {"quick": 2, "default": 2, "full": 3}[options.size]
trainings = {
    "Adam": (train_adam, {"quick": 300, "default": 2000, "full": 10000}[options.size]),
    "Levenberg-Marquardt": (train_levenberg_marquardt, {"quick": 20, "default": 50, "full": 200}[options.size]),
}
points = torch.linspace(-1, 1, 500, dtype=FLOAT)
errors = {name: np.empty((len(widths), seeds)) for name in trainings}
with tqdm(total=len(trainings) * len(widths) * seeds, desc="training tanh networks") as bar:
    for name, (train, steps) in trainings.items():
        for i, width in enumerate(widths):
            for seed in range(seeds):
                trained = train(initial_parameters(width, seed), points, runge(points), steps)
                errors[name][i, seed] = largest_error(network(trained, GRID), runge)
                bar.update()

rows = []
for i, (width, n) in enumerate(zip(widths, parameter_counts, strict=True)):
    cells = [f"{np.median(error[i]):.1e} ({error[i].min():.1e} to {error[i].max():.1e})" for error in errors.values()]
    rows.append(f"{width} | {n} | {' | '.join(cells)} | {chebyshev[n]:.1e}")
title = f"Runge's function: largest error of tanh networks, median (range) of {seeds} seeds; "
title += ", ".join(f"{steps} evaluations ({name})" for name, (_, steps) in trainings.items())
header = "units | parameters | Adam | Levenberg-Marquardt | polynomial, as many Chebyshev nodes"
show_table(title, header, rows)

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
axes.plot(*zip(*equidistant.items(), strict=True), "k:", marker="x", label="polynomial, equidistant nodes")
axes.plot(*zip(*chebyshev.items(), strict=True), "k-", marker=".", label="polynomial, Chebyshev nodes")
for (name, error), style, color in zip(errors.items(), ("s--", "o-."), ("tab:orange", "tab:blue"), strict=True):
    middle = np.median(error, axis=1)
    spread = [middle - error.min(axis=1), error.max(axis=1) - middle]
    label = f"tanh network, {name}"
    axes.errorbar(parameter_counts, middle, spread, fmt=style, color=color, markerfacecolor="white", label=label)
axes.set(xscale="log", yscale="log", ylim=(1e-16, 1e4), xlabel="nodes of the polynomial, or parameters of the network")
axes.set_ylabel("largest error on [-1, 1]")
axes.set_xticks([3, 10, 30, 100, 300])
axes.xaxis.set_major_formatter("{x:.0f}")
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend()
options.save(figure, "runge")

# %% [markdown]
# ## Powers out of tanh units
# The central difference of order $p$ with step $h x$ is a network of $p + 1$ tanh units:
#
# $x^p \approx \frac{1}{h^p \tanh^{(p)}(b)} \sum_{k=0}^{p} (-1)^{p-k} \binom{p}{k} \tanh(b + (k - p/2)\, h x)$
#
# Its error is $\frac{p}{24} |\tanh^{(p+2)}(b) / \tanh^{(p)}(b)|\, h^2 |x|^{p+2}$ and higher powers of $h$. For $x^2$,
# $b = \mathrm{artanh}(1/\sqrt 3)$, where $|\tanh''|$ is largest; at $b = 0$ it is 0. For $x$ and $x^3$, $b = 0$.
# The largest errors on [-1, 1] are $h^2/12$, $h^2/3$ and $h^2$. Rounding errors are divided by $h^p$, too. Around
# $b = 0$, tanh is as small as $h$, and so are its rounding errors: they remain near $10^{-16}$ for $x$.
#
# A question: tanh is odd. With how many units less can $x$, $x^2$ and $x^3$ be made?

# %%
EXPANSION_POINTS = {
    1: (0.0, 1.0),
    2: (atanh(1 / sqrt(3)), -4 / sqrt(27)),
    3: (0.0, -2.0),
}  # p: b, the derivative p at b


def power_network(p: int, h: float) -> Tensor:
    """Return the parameters of the tanh network above."""
    b, derivative = EXPANSION_POINTS[p]
    w = (torch.arange(p + 1, dtype=FLOAT) - p / 2) * h
    v = torch.tensor([(-1) ** (p - k) * comb(p, k) for k in range(p + 1)], dtype=FLOAT) / (h**p * derivative)
    return torch.cat([w, torch.full_like(w, b), v, torch.zeros(1, dtype=FLOAT)])


def power_error(p: int, h: float) -> float:
    return largest_error(network(power_network(p, h), GRID), lambda x: x**p)


h_values = torch.logspace(-8, 0, 81, dtype=FLOAT)
truncated = (h_values > 0.0099) & (h_values < 0.101)  # where truncation outweighs rounding, and h is small
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
rows = []
for p, style in zip((1, 2, 3), ("o-", "s--", "^:"), strict=True):
    power_errors = torch.tensor([power_error(p, h) for h in h_values.tolist()], dtype=FLOAT)
    best = int(power_errors.argmin())
    measured = slope(h_values[truncated], power_errors[truncated])
    rows.append(f"x^{p} | {p + 1} | {measured:.3f} | {power_errors[best]:.1e} | {h_values[best]:.1e}")
    axes.loglog(h_values, power_errors, style, markersize=4, markevery=2, label=f"$x^{p}$ by {p + 1} units")
title = "Powers on [-1, 1] out of tanh units: slope of log error against log h, for h from 0.01 to 0.1"
show_table(title, "power | units | slope | least error | at h", rows)
axes.axvspan(0.01, 0.1, color="grey", alpha=0.15, label="slope measured here")
axes.set(xlabel="step h of the finite differences", ylabel="largest error on [-1, 1]", ylim=(1e-17, 1e2))
axes.grid(alpha=0.3)
axes.legend(loc="upper center", ncols=2)
options.save(figure, "powers")

# %% [markdown]
# ## Any continuous function out of ReLUs
# The piecewise linear function through $(x_0, y_0), \dots, (x_n, y_n)$ is a network of $n$ ReLUs: with $s_i$ the slope
# between $x_i$ and $x_{i+1}$, it is $y_0 + s_0\, \mathrm{relu}(x - x_0) + \sum_{i=1}^{n-1} (s_i - s_{i-1})\,
# \mathrm{relu}(x - x_i)$. For every continuous function, the error goes to 0 as $n$ grows. It is at most
# $\max |f''| (2/n)^2 / 8$ if $f$ is smooth, here $25 / n^2$ for Runge's function. The square root of $|x|$ is
# continuous, but its derivative is not bounded: its error is $(2/n)^{1/2} / 4$ for an even $n$.


# %%
def relu_network(nodes: Tensor, values: Tensor) -> Tensor:
    """Return the parameters of the ReLU network that interpolates between ascending nodes (n + 1)."""
    slopes = values.diff() / nodes.diff()
    changes = slopes.diff(prepend=slopes.new_zeros(1))
    return torch.cat([torch.ones_like(changes), -nodes[:-1], changes, values[:1]])


def relu_error(function: Callable[[Tensor], Tensor], units: int) -> float:
    nodes = equidistant_nodes(units + 1)
    return largest_error(network(relu_network(nodes, function(nodes)), GRID, torch.relu), function)


def root(x: Tensor) -> Tensor:
    return x.abs().sqrt()


units = 2 ** torch.arange(1, 11)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
rows = []
for name, function, style in (("1 / (1 + 25 x²)", runge, "o-"), ("sqrt(abs(x))", root, "s--")):
    relu_errors = torch.tensor([relu_error(function, n) for n in units.tolist()], dtype=FLOAT)
    rows.append(f"{name} | {relu_errors[0]:.1e} | {relu_errors[-1]:.1e} | {slope(units[6:], relu_errors[6:]):.3f}")
    axes.loglog(units, relu_errors, style, label=name)
header = f"function | {units[0]} units | {units[-1]} units | slope from {units[6]} units on"
show_table("ReLU networks: largest error, and slope of log error against log units", header, rows)
axes.loglog(units, 25 / units**2, "k:", label="$25 / n^2$")
axes.set(xlabel="ReLU units n", ylabel="largest error on [-1, 1]")
axes.grid(alpha=0.3)
axes.legend()
options.save(figure, "relu")

(options.folder / "approximation.md").write_text("\n".join(tables), encoding="utf-8")
print(f"Tables and plots: {options.folder}")
