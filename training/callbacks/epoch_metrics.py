"""Close the loss and accuracy of an epoch."""

import lightning
from lightning.pytorch.callbacks import Callback

from ..module import ClassificationModule


class EpochMetrics(Callback):
    """Logs `train/loss` (what was minimised), `train/accuracy`, `val/loss`, `val/accuracy` at the end of each epoch."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        if trainer.global_rank:
            pl_module.train_metrics.reset()  # a checkpoint has the sums of all processes: the first one continues them

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        for split, metrics in (("train", pl_module.train_metrics), ("val", pl_module.val_metrics)):
            if metrics.update_called:
                values = {f"{split}/{name}": value for name, value in metrics.compute_and_reset().items()}
                pl_module.log_dict(values, prog_bar=split == "val")
