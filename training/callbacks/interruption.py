"""Ctrl-C and SIGTERM: the batch in hand is finished, then the run ends; a second one ends it at once.

Of several processes each may get the same signal twice, from Slurm and from what started it: there a second one
is left to the starter.
"""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from launch.errors import Interrupted

from ..distributed import ALONE, Peers

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(Callback):
    """While this context is open a signal raises Interrupted: between two batches of training, and in all processes
    behind the same one; elsewhere at once.
    """

    def __init__(self, folder: Path, peers: Peers = ALONE) -> None:
        self.folder, self.peers = folder, peers
        self.received = 0
        self.asked = peers.reduce_max(lambda: self.received)
        self.training = False

    def __enter__(self) -> "Interruption":
        self.previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def on_train_start(self, *_: Any) -> None:
        for number in SIGNALS:  # again: Lightning has meanwhile set a handler of its own for SIGTERM
            signal.signal(number, self._receive)
        self.training = True

    def on_train_end(self, *_: Any) -> None:
        self.training = False

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch:  # the epoch's end belongs to it
            self._stop_if_asked(
                self.asked(), f" in epoch {trainer.current_epoch + 1}, after step {trainer.global_step}"
            )

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._stop_if_asked(self.asked(), f" after epoch {trainer.current_epoch + 1}")

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if not self.peers.group:
            for each in SIGNALS:
                signal.signal(each, signal.SIG_DFL)
        if not self.training:
            self._stop_if_asked(number, "")

    def _stop_if_asked(self, number: int, where: str) -> None:
        if number:
            raise Interrupted(f"stopped by {signal.Signals(number).name}{where}", 128 + number, self.folder)
