"""Dropout draws what (seed, epoch, batch) say, wherever a run was stopped before."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

from data.batches import stream_seed


class RandomDraws(Callback):
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        seed = stream_seed(self.seed, trainer.current_epoch, batch_idx)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed, which asks every kind of device, takes 0.4 ms
        if pl_module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
