"""Train a few steps at learning rates that grow exponentially: a range test, whose losses show which rates are good.

L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3.
"""

import math
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from launch import settings

from .fit import fit, prepare
from .log import silence_lightning

STEPS = 200
LOWEST, HIGHEST = 1e-5, 100.0  # rates of the first and the last step
DIVERGED = 2.0  # times the loss of the first AVERAGED steps
AVERAGED = 10


def range_test(config: DictConfig) -> tuple[list[float], list[float]]:
    """Return the learning rate and the loss of each step; at most STEPS, fewer if the loss diverges.

    The network starts as a run of this configuration would. Nothing is written.
    """
    silence_lightning()
    parts = prepare(config)
    epochs = math.ceil(STEPS / (len(parts.splits.train.labels) // config.batch_size))
    parts = parts._replace(
        config=settings.replace(parts.config, {"epochs": epochs}),
        splits=parts.splits._replace(val=None),
        scheduler=exponential,
    )
    losses = Losses()
    with suppress(Ended):
        fit(parts, [losses], Path())
    return [rate(step) for step in range(len(losses.values))], losses.values


def rate(step: int) -> float:
    return LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))


def exponential(optimizer: Optimizer, steps_per_epoch: int) -> LRScheduler:
    """Return the schedule of the test, in place of that of the configuration."""
    given = optimizer.param_groups[0]["lr"]
    return LambdaLR(optimizer, lambda step: rate(step) / given)


class Ended(Exception):
    """The last step was trained, or the loss has diverged."""


class Losses(Callback):
    """Keeps the loss of each step; raises Ended after the last one."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        loss = float(outputs["loss"])
        if not math.isfinite(loss):
            raise Ended
        self.values.append(loss)
        late, early = self.values[-AVERAGED:], self.values[:AVERAGED]
        if len(self.values) == STEPS or mean(late) > DIVERGED * mean(early):
            raise Ended
