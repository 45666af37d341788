"""Let a run end at its first batch, so that `benchmarks.start` can measure the seconds until then."""

import os
import shutil
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback


class FirstBatch(Callback):
    """Removes the run folder and ends the process."""

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        shutil.rmtree(trainer.default_root_dir)
        os._exit(0)
