"""Show the progress of an epoch."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar


class ProgressBar(TQDMProgressBar):
    """Counts epochs from 1, as the log lines do; is redrawn every 20 batches, because drawing takes time."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20, leave=False)

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}")
