"""The progress bar of an epoch."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar


class ProgressBar(TQDMProgressBar):
    """Within an epoch, counted from 1 as in the lines; drawn anew every 20 batches, as drawing costs time."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20, leave=False)

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}")
