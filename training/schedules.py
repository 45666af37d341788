"""How the learning rate moves over a run: each schedule scales the optimizer's rate by a function of the step.

Each is told the number of the run's steps, so that it ends where the run ends and nothing of it lies beyond.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(optimizer: Optimizer, total_steps: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1.0)


def one_cycle(optimizer: Optimizer, total_steps: int, warm_up: float) -> LambdaLR:
    """From 1/25 of the rate up to it in the first `warm_up` of the steps, then down to nearly nothing, both along a
    cosine: Smith & Topin, "Super-Convergence", 2019. The rates are those of torch's OneCycleLR, which divides by zero
    when the rise or the fall has no step; the momentum stays as it is.
    """
    first, last = 1 / 25, 1 / 250_000
    top = max(warm_up * total_steps - 1, 0)

    def factor(step: int) -> float:
        if step < top:
            return _cosine(first, 1.0, step / top)
        return _cosine(1.0, last, min((step - top) / max(total_steps - 1 - top, 1), 1))

    return LambdaLR(optimizer, factor)


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
