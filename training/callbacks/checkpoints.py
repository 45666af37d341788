"""Decide when a run saves a checkpoint."""

import time
from pathlib import Path
from typing import Any, cast

import lightning
from lightning.pytorch.callbacks import Checkpoint

from launch.errors import Interrupted

from ..distributed import ALONE, Peers
from ..module import ClassificationModule


class Checkpoints(Checkpoint):
    """Saves at the end of every epoch, after a batch every `every_minutes`, and when the run is interrupted.

    Never after the last batch of an epoch: a resumed run would leave out the epoch's end, which saves anyway. Several
    processes save together, and the first one writes.
    """

    def __init__(self, folder: Path, every_minutes: float, peers: Peers = ALONE) -> None:
        self.folder, self.every_minutes = folder, every_minutes
        self.saved = time.monotonic()
        self.any_due = peers.reduce_max(lambda: time.monotonic() - self.saved > 60 * self.every_minutes)
        self.started = False

    def setup(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        return {"should_stop": self.trainer.should_stop}  # a callback may have ended the training

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.trainer.should_stop = state_dict["should_stop"]

    def on_train_start(self, *_: Any) -> None:
        self.started = True  # before this, a resumed run has not yet read its checkpoint

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if not trainer.is_last_batch and self.any_due():
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        if isinstance(exception, Interrupted) and self.started:
            self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        module = cast(ClassificationModule, trainer.lightning_module)
        with module.train_metrics.sync_context():  # the sums of all processes
            trainer.save_checkpoint(self.folder / f"step_{trainer.global_step:08}.ckpt")
        self.saved = time.monotonic()
