"""Compare gradient formulas with autograd and with central differences, in float64: tables and a plot of both."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from start import Options
from torch import Tensor

DRAWS = {"quick": 2, "default": 10, "full": 100}  # random inputs for each formula
GENERATOR = torch.Generator().manual_seed(1)
ZERO = 1e-18  # where a logarithmic axis shows 0


def normal(*shape: int) -> Tensor:
    """Draw standard normal numbers in float64."""
    return torch.randn(shape, dtype=torch.float64, generator=GENERATOR)


def autograd(loss: Callable[..., Tensor], inputs: list[Tensor]) -> Sequence[Tensor]:
    """Return the gradients of the number `loss(*inputs)`, one for each input."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    return torch.autograd.grad(loss(*inputs), inputs)


def central_differences(loss: Callable[..., Tensor], inputs: list[Tensor], h: float = 1e-5) -> Sequence[Tensor]:
    """Return the same gradients from two evaluations of `loss` for each number in `inputs`."""
    gradients = [torch.empty_like(x) for x in inputs]
    for x, gradient in zip(inputs, gradients, strict=True):
        for i, old in enumerate(x.view(-1).tolist()):
            x.view(-1)[i] = old + h
            above = loss(*inputs)
            x.view(-1)[i] = old - h
            gradient.view(-1)[i] = (above - loss(*inputs)) / (2 * h)
            x.view(-1)[i] = old
    return gradients


def largest_difference(gradients: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(gradients, expected, strict=True))


class Comparison:
    """Compare formulas on random inputs; write `<name>.md` and `<name>.png` to the folder of the options."""

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.options, self.draws = name, options, DRAWS[options.size]
        self.rows: list[tuple[str, str, float, float]] = []  # layer, shapes, differences of formula, of central ones
        self.title = f"Largest absolute difference from autograd, float64, {self.draws} random inputs for each formula"
        print(f"{self.title}\n\n{'':28} {'shapes of the inputs':42} {'formula':>8} {'differences':>12}")

    def compare(self, name: str, formula: Callable, layer: Callable, *shapes: tuple[int, ...], **settings: Any) -> None:
        """Print the largest differences from autograd, and add them to `rows`.

        `formula(*inputs, dy, **settings)` returns the gradients of `layer(*inputs, **settings)`. The formula of a loss,
        whose value is one number, takes no `dy`.
        """
        by_formula = by_differences = 0.0
        for _ in range(self.draws):
            inputs = [normal(*shape) for shape in shapes]
            y = layer(*inputs, **settings)
            dy = [normal(*y.shape)] if y.dim() else []

            def loss(*inputs: Tensor, dy: list[Tensor] = dy) -> Tensor:
                y = layer(*inputs, **settings)
                return (dy[0] * y).sum() if dy else y

            expected = autograd(loss, inputs)
            by_formula = max(by_formula, largest_difference(formula(*inputs, *dy, **settings), expected))
            by_differences = max(by_differences, largest_difference(central_differences(loss, inputs), expected))
        self.rows.append((name, ", ".join("x".join(map(str, shape)) for shape in shapes), by_formula, by_differences))
        print("{:28} {:42} {:8.1e} {:12.1e}".format(*self.rows[-1]))

    def save(self) -> None:
        """Write the table and the plot of all rows."""
        table = f"{self.title}.\n\n| layer or loss | shapes of the inputs | formula | central differences |\n"
        table += "| --- | --- | ---: | ---: |\n"
        table += "".join("| {} | {} | {:.1e} | {:.1e} |\n".format(*row) for row in self.rows)
        (self.options.folder / f"{self.name}.md").write_text(table, encoding="utf-8")

        names, _, by_formula, by_differences = zip(*self.rows, strict=True)
        figure, axes = plt.subplots(figsize=(7, 0.25 * len(names) + 1), layout="constrained")
        axes.plot([max(ZERO, value) for value in by_formula], names, "o", color="black", label="formula")
        axes.plot(by_differences, names, "s", color="tab:orange", markerfacecolor="white", label="central differences")
        axes.axvline(torch.finfo(torch.float64).eps, color="grey", linestyle=":", label="machine epsilon")
        axes.set(xscale="log", xlim=(ZERO / 3, 1e-5), xlabel="largest absolute difference from autograd (float64)")
        powers = range(-16, -4, 2)
        axes.set_xticks([ZERO, *(10.0**n for n in powers)], ["0", *(f"$10^{{{n}}}$" for n in powers)])
        axes.invert_yaxis()  # the first formula at the top
        axes.grid(axis="y", alpha=0.3)
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
        self.options.save(figure, self.name)
        print(f"\nTable and plot: {self.options.folder}")
