"""Stop on Ctrl-C or SIGTERM after the batch in progress; a second signal ends the process at once.

Each of several processes may get the same signal twice, from Slurm and from the launcher: there a second one is left to
the launcher.
"""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from launch import signals
from launch.errors import Interrupted

from ..distributed import ALONE, Peers


class Interruption(Callback):
    """While this context is open a signal raises Interrupted: during training after a batch, in all processes after
    the same one; otherwise at once. At the end of an epoch it waits for the first batch of the next one.
    """

    def __init__(self, folder: Path, peers: Peers = ALONE) -> None:
        self.folder, self.peers = folder, peers
        self.received = 0
        self.any_received = peers.reduce_max(lambda: self.received)
        self.training = False

    def __enter__(self) -> "Interruption":
        self.handling = signals.handling(self._receive)
        self.handling.__enter__()
        return self

    def __exit__(self, *_: Any) -> None:
        self.handling.__exit__(None, None, None)

    def on_train_start(self, *_: Any) -> None:
        self.training = True

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self.training = False
        self._stop_if(self.any_received(), f" after epoch {trainer.current_epoch}")

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch:  # else the end of the epoch follows, which may not be left out
            where = f" in epoch {trainer.current_epoch + 1}, after step {trainer.global_step}"
            self._stop_if(self.any_received(), where)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Leave a signal to the next batch: EarlyStopping and Checkpoint, which Lightning calls last, are to come."""
        if trainer.num_training_batches == 1:
            self._stop_if(self.any_received(), f" after epoch {trainer.current_epoch + 1}")

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not self.peers.group:
            signals.install(signal.SIG_DFL)
        if not self.training:
            self._stop_if(number)

    def _stop_if(self, number: int, where: str = "") -> None:
        if number:
            raise Interrupted(f"stopped by {signal.Signals(number).name}{where}", 128 + number, self.folder)
