"""Compare locally weighted regression with linear, polynomial and ridge regression on noisy data.

Source: Cleveland, "Robust Locally Weighted Regression and Smoothing Scatterplots", JASA 1979, without its robust steps.
"""

# %% [markdown]
# # Regression on noisy data
# How well is a function found again from points that lie around it?

# %%
from start import read_flags

options = read_flags("regression", __doc__)

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

FLOAT = torch.float64

# %% [markdown]
# ## Four methods
# Ridge regression minimises $|Xw - y|^2 + \lambda |w|^2$, so $w = (X^T X + \lambda I)^{-1} X^T y$. Here the columns of
# $X$ are powers of $x$; centring them and $y$ leaves out the intercept, which is not penalised. Locally weighted
# regression fits a straight line anew for each query $q$, with the weights $\exp(-(x_i - q)^2 / 2 \tau^2)$. Degree,
# $\lambda$ and bandwidth $\tau$ are chosen by the error on validation points.


# %%
def ridge(x: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return the coefficients (D) of x (N, D), and the intercept; a strength of 0 is least squares."""
    centred = x - x.mean(dim=0)
    coefficients = torch.linalg.solve(
        centred.T @ centred + strength * torch.eye(x.shape[1], dtype=FLOAT), centred.T @ y
    )
    return coefficients, y.mean() - x.mean(dim=0) @ coefficients


def polynomial_regression(x: Tensor, y: Tensor, queries: Tensor, degree: int, strength: float = 0.0) -> Tensor:
    """Return the values at the queries of the polynomial fitted to x (N), y (N) by ridge regression."""
    powers = torch.arange(1, degree + 1)
    coefficients, intercept = ridge(x[:, None] ** powers, y, strength)
    return queries[:, None] ** powers @ coefficients + intercept


def locally_weighted_regression(x: Tensor, y: Tensor, queries: Tensor, bandwidth: float) -> Tensor:
    """Return the value at each query of the line that is fitted around it.

    It is NaN where the bandwidth is so far below the distances of the points that only one weight is not 0.
    """
    squares = (x - queries[:, None]) ** 2  # (queries, N)
    weights = torch.softmax(-squares / (2 * bandwidth**2), dim=1)  # each row sums to 1
    x_mean, y_mean = weights @ x, weights @ y
    x_centred = x - x_mean[:, None]
    slopes = (weights * x_centred * y).sum(dim=1) / (weights * x_centred**2).sum(dim=1)
    return y_mean + slopes * (queries - x_mean)


# %% [markdown]
# ## Their errors on noisy data
# The points lie around Runge's function, $1 / (1 + 25 x^2)$, which a straight line cannot follow. Each data set has 60
# points to train and 60 to validate; the error is measured on 1,000 others, where the function itself has about 0.1,
# the noise.


# %%
def runge(x: Tensor) -> Tensor:
    return 1 / (1 + 25 * x**2)


def sample(n: int) -> tuple[Tensor, Tensor]:
    """Draw x from [-1, 1], and Runge's function of x plus normal noise of standard deviation 0.1."""
    x = 2 * torch.rand(n, dtype=FLOAT, generator=generator) - 1
    return x, runge(x) + 0.1 * torch.randn(n, dtype=FLOAT, generator=generator)


def root_mean_square(errors: Tensor) -> float:
    return errors.square().mean().sqrt().item()


methods = {  # name: regression, the settings to choose from
    "linear": (polynomial_regression, [1]),
    "polynomial, degree": (polynomial_regression, list(range(1, 21))),
    "ridge of degree 15, strength": (
        lambda x, y, queries, strength: polynomial_regression(x, y, queries, 15, strength),
        [10.0**k for k in range(-12, 3)],
    ),
    "locally weighted, bandwidth": (locally_weighted_regression, [0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3]),
}
generator = torch.Generator().manual_seed(1)
count = {"quick": 2, "default": 20, "full": 100}[options.size]
data_sets = [(sample(60), sample(60), sample(1000)) for _ in range(count)]  # training, validation, held-out points
chosen: dict[str, list[float]] = {name: [] for name in methods}
held_out: dict[str, list[float]] = {name: [] for name in methods}
for (x, y), (x_val, y_val), (x_test, y_test) in tqdm(data_sets):
    for name, (regression, settings) in methods.items():
        validation = [root_mean_square(regression(x, y, x_val, setting) - y_val) for setting in settings]
        chosen[name].append(settings[int(np.nanargmin(validation))])
        held_out[name].append(root_mean_square(regression(x, y, x_test, chosen[name][-1]) - y_test))

title = "Runge's function from 60 points with noise of standard deviation 0.1: root mean square error on 1,000 points\n"
title += f"held out, from {count} data sets. Settings were chosen on 60 validation points."
table = f"{title}\n\n| method, setting | setting, median (range) | median error | 9 of 10 errors are below |\n"
table += "| --- | ---: | ---: | ---: |\n"
for name in methods:
    setting = f"{np.median(chosen[name]):g} ({min(chosen[name]):g} to {max(chosen[name]):g})"
    table += f"| {name} | {setting} | {np.median(held_out[name]):.3f} | {np.quantile(held_out[name], 0.9):.3f} |\n"
(options.folder / "regression.md").write_text(table, encoding="utf-8")
print(table)

# %%
(x, y), *_ = data_sets[-1]
queries = torch.linspace(-1, 1, 401, dtype=FLOAT)
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
axes.plot(x, y, ".", color="grey", label="training points")
axes.plot(queries, runge(queries), color="grey", linewidth=4, alpha=0.4, label="function")
for (name, (regression, _)), style in zip(methods.items(), (":", "--", "-.", "-"), strict=True):
    setting = chosen[name][-1]
    label = f"{name} {setting:g}" if "," in name else name
    axes.plot(queries, regression(x, y, queries, setting), style, label=label)
axes.set(xlabel="x", ylabel="y", ylim=(-0.4, 1.7))
axes.legend(ncols=2)
options.save(figure, "regression")
print(f"Table and plot: {options.folder}")
