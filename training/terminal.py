"""Where a run's lines go: the terminal, past the progress bar, and train.log."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar
from tqdm.contrib.logging import logging_redirect_tqdm


class ProgressBar(TQDMProgressBar):
    """Within an epoch, counted from 1 as in the lines; drawn anew every 20 batches, as drawing costs time."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=20, leave=False)

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch + 1}")


log = logging.getLogger("refzoo")


@contextmanager
def lines_to(file: Path, silent: bool = False) -> Iterator[None]:
    """Send the log to standard output and to `file`, or nowhere; keep Lightning's own remarks out of both."""
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.*")
    logging.raiseExceptions = False  # a terminal that is gone, or a pipe that nobody reads, ends no training
    if silent:
        yield
        return
    handlers = [logging.StreamHandler(sys.stdout), logging.FileHandler(file, encoding="utf-8")]
    handlers[1].setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = handlers
    try:
        with logging_redirect_tqdm([log]):
            yield
    finally:
        log.handlers = []
        for handler in handlers:
            handler.close()
