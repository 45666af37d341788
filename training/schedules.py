"""How the learning rate moves over a run: each schedule scales the optimizer's rate by a function of the step.

Each is told the length of the run, so that it ends where the run ends and nothing of it lies beyond.
"""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def constant(optimizer: Optimizer, epochs: int, steps_per_epoch: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda step: 1.0)


def step(optimizer: Optimizer, epochs: int, steps_per_epoch: int, every: int, factor: float) -> LambdaLR:
    """The rate is multiplied by `factor` after `every` epochs, and again after as many; as torch's StepLR does.

    It does not depend on `epochs`, so that a run may be resumed for more of them.
    """
    return LambdaLR(optimizer, lambda step: factor ** (step // (every * steps_per_epoch)))


def cosine(optimizer: Optimizer, epochs: int, steps_per_epoch: int, warm_up: float) -> LambdaLR:
    """In even steps up to the rate in the first `warm_up` of the steps (Goyal et al., "Accurate, Large Minibatch SGD",
    2017), then along half a cosine down to zero, which would come one step behind the last (Loshchilov & Hutter,
    "SGDR", 2017, without restarts).
    """
    total = epochs * steps_per_epoch
    rising = min(round(warm_up * total), total - 1)

    def factor(step: int) -> float:
        return (step + 1) / (rising + 1) if step < rising else _cosine(1.0, 0.0, (step - rising) / (total - rising))

    return LambdaLR(optimizer, factor)


def one_cycle(optimizer: Optimizer, epochs: int, steps_per_epoch: int, warm_up: float) -> LambdaLR:
    """From 1/25 of the rate up to it in the first `warm_up` of the steps, then down to nearly nothing, both along a
    cosine: Smith & Topin, "Super-Convergence", 2019. The rates are those of torch's OneCycleLR, which divides by zero
    when the rise or the fall has no step; the momentum stays as it is.
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
