"""End a run whose loss is not finite."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import distributed as dist

from launch.errors import RunFailed

from ..distributed import ALONE, Peers
from ..module import ClassificationModule

FINITE_CHECK_INTERVAL = 50  # batches between two checks on CUDA, where each one waits for the GPU


class FiniteLoss(Callback):
    """Raises RunFailed for a loss that is not finite: after a batch, at the end of an epoch, before a checkpoint is
    saved.
    """

    def __init__(self, peers: Peers = ALONE) -> None:
        self.checks_batch = False
        self.any_not_finite = peers.reduce_max(lambda: self.checks_batch and not torch.isfinite(self.metrics.loss))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        self.metrics = pl_module.train_metrics

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.checks_batch = pl_module.device.type == "cpu" or batch_idx % FINITE_CHECK_INTERVAL == 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.any_not_finite():
            self._check_finite(trainer, f", batch {batch_idx + 1}")

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._check_finite(trainer)

    def on_save_checkpoint(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._check_finite(trainer)

    def _check_finite(self, trainer: lightning.Trainer, where: str = "") -> None:
        """Check the loss of all processes, which have to call this together."""
        loss = self.metrics.loss
        if dist.is_initialized():
            dist.all_reduce(loss := loss.clone())
        if not torch.isfinite(loss):
            raise RunFailed(
                f"the loss became {loss.item()} in epoch {trainer.current_epoch + 1}{where}. "
                "Try a smaller optimizer.lr, gradient_clip=1, or scheduler=one_cycle, which warms up."
            )
