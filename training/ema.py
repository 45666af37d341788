"""Averaged weights: an exponential moving average of the trained network, often the better of the two."""

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """average <- d average + (1 - d) network at each step, with d = `decay`, or (1 + step) / (10 + step) while that is
    smaller, so that the initial weights are soon forgotten. The running statistics of batch norms are averaged too.
    """

    def __init__(self, average: nn.Module, network: nn.Module, decay: float) -> None:
        self.decay = decay
        pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
        self.averages = [average for average, _ in pairs if average.is_floating_point()]
        self.values = [value for _, value in pairs if value.is_floating_point()]
        self.counts = [pair for pair in pairs if not pair[0].is_floating_point()]  # of batches, in each batch norm

    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.averages, self.values, step)
        with torch.no_grad():
            for average, value in self.counts:
                average.copy_(value)
