"""How the learning rate moves over a run. Each takes the number of the run's steps, so that nothing it does lies
beyond the end.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    return ConstantLR(optimizer, factor=1.0, total_iters=total_steps)


def one_cycle(optimizer: Optimizer, total_steps: int, warm_up: float) -> LRScheduler:
    """From 1/25 of the rate up to it over the first `warm_up` of the steps, then down to nothing, both along a cosine
    (Smith & Topin, "Super-Convergence", 2019). The momentum stays as it is.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps, pct_start=warm_up, cycle_momentum=False)
