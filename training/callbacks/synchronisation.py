"""Let the processes of a run decide together, after every batch: to stop, to save, to fail."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from ..distributed import Peers


class SynchronizeProcesses(Callback):
    """Exchanges what the callbacks after it ask for by `Peers.reduce_max`; it has to be the first of them. A process
    that acted alone would leave the others waiting for it.
    """

    def __init__(self, peers: Peers) -> None:
        self.peers = peers

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        # Lightning's own step asks whether the first process got SIGTERM, and on CUDA waits for the answer.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_batch_end(self, *_: Any) -> None:
        self.peers.sync()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.peers.sync()
