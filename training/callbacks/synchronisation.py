"""What the processes of a run decide together, behind every batch: to stop, to save, to give up."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from ..distributed import Peers
from ..module import FINITE_CHECK_INTERVAL, ClassificationModule


class SynchronizeProcesses(Callback):
    """The first of the callbacks. What the others ask for by `Peers.largest` is exchanged here, once a batch, and
    whether a loss is not finite; a process that acted on its own would leave the others waiting for it.
    """

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.failed = False
        self.any_failed = peers.reduce_max(lambda: self.failed)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        # Lightning's own step asks whether the first process got SIGTERM, and on CUDA waits for the answer.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: lightning.Trainer, pl_module: ClassificationModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.device.type == "cpu" or batch_idx % FINITE_CHECK_INTERVAL == 0:
            self.failed = not torch.isfinite(pl_module.train_metrics.loss)
        self.peers.sync()
        if self.any_failed():
            pl_module.check_finite(f", batch {batch_idx + 1}")

    def on_train_epoch_end(self, *_: Any) -> None:
        self.peers.sync()
