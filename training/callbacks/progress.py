"""Show the progress of an epoch."""

import shutil
import sys
from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


def size(_: Any) -> tuple[int, int]:
    """Return the columns and lines for bars: Ctrl-C writes ^C behind one."""
    terminal = shutil.get_terminal_size()
    return terminal.columns - len("^C "), terminal.lines


class ProgressBar(TQDMProgressBar):
    """Counts epochs from 1 and shows no metrics, for the line of the epoch has both; leaves nothing behind.

    It is redrawn every 20 batches, because drawing takes time.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=20, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        bar: Any = super().init_train_tqdm()
        bar.leave = False
        bar.dynamic_ncols = size
        return bar

    def get_metrics(self, *_: Any) -> dict[str, Any]:
        return {}

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_start(trainer)
        self._describe(trainer)  # an epoch that is resumed does not start anew

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self._describe(trainer)

    def on_validation_batch_start(self, *arguments: Any, **keywords: Any) -> None:
        super().on_validation_batch_start(*arguments, **keywords)
        self.val_progress_bar.set_description("validation", refresh=False)

    def on_exception(self, *_: Any) -> None:
        for bar in (self._val_progress_bar, self._train_progress_bar):
            if bar is not None:
                bar.close()
        sys.stdout.write("\r\x1b[K")  # and the ^C behind it

    def _describe(self, trainer: lightning.Trainer) -> None:
        self.train_progress_bar.total = trainer.num_training_batches
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
