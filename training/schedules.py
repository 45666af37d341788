"""Learning-rate schedules: each multiplies the optimizer's rate by a function of the step.

A schedule that depends on the length of the run has the argument `epochs`, which its YAML takes from the run; a run of
one that has not may be resumed for more epochs. The ranges of arguments stand in their annotations.
"""

import math
from typing import Annotated

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Fraction = Annotated[float, Field(ge=0, le=1)]


def constant(optimizer: Optimizer, steps_per_epoch: int) -> LambdaLR:
    """Keep the rate."""
    return LambdaLR(optimizer, lambda step: 1.0)


def step(
    optimizer: Optimizer,
    steps_per_epoch: int,
    every: Annotated[int, Field(ge=1)],
    factor: Annotated[float, Field(gt=0, le=1)],
) -> LambdaLR:
    """Multiply the rate by `factor` after every `every` epochs, as torch's StepLR does."""
    return LambdaLR(optimizer, lambda step: factor ** (step // (every * steps_per_epoch)))


def cosine(optimizer: Optimizer, steps_per_epoch: int, epochs: int, warm_up: Fraction) -> LambdaLR:
    """Raise the rate linearly in the first `warm_up` of the steps (Goyal et al., "Accurate, Large Minibatch SGD",
    2017), then lower it along half a cosine to zero, which it would reach one step after the last (Loshchilov & Hutter,
    "SGDR", 2017, without restarts).
    """
    total = epochs * steps_per_epoch
    rising = min(round(warm_up * total), total - 1)

    def factor(step: int) -> float:
        return (step + 1) / (rising + 1) if step < rising else _cosine(1.0, 0.0, (step - rising) / (total - rising))

    return LambdaLR(optimizer, factor)


def one_cycle(optimizer: Optimizer, steps_per_epoch: int, epochs: int, warm_up: Fraction) -> LambdaLR:
    """Raise the rate from 1/25 of it in the first `warm_up` of the steps, then lower it to nearly zero, both along a
    cosine: Smith & Topin, "Super-Convergence", 2019.

    The rates are those of torch's OneCycleLR, which divides by zero when the rise or the fall has no step; the momentum
    is left unchanged.
    """
    first, last = 1 / 25, 1 / 250_000
    total = epochs * steps_per_epoch
    top = max(warm_up * total - 1, 0)

    def factor(step: int) -> float:
        if step < top:
            return _cosine(first, 1.0, step / top)
        return _cosine(1.0, last, min((step - top) / max(total - 1 - top, 1), 1))

    return LambdaLR(optimizer, factor)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
