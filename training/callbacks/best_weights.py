"""Keep the weights of the best epoch (`select=best`)."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from ..module import ClassificationModule


class BestWeights(Callback):
    """Keeps a copy of the network with the best validation accuracy so far, the earliest of equals.

    The copy is part of every checkpoint, so that a resumed run has it whichever checkpoint it continues from. It comes
    after EpochMetrics, which gives it the accuracy.
    """

    def __init__(self) -> None:
        self.epoch, self.accuracy = 0, -1.0
        self.weights: dict[str, Tensor] = {}

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        accuracy = float(trainer.callback_metrics["val/accuracy"])
        if accuracy > self.accuracy:
            self.epoch, self.accuracy = trainer.current_epoch + 1, accuracy
            self.weights = {key: tensor.clone() for key, tensor in pl_module.eval_network.state_dict().items()}

    def restore(self, network: nn.Module) -> None:
        with torch.no_grad():
            network.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "accuracy": self.accuracy, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.accuracy, self.weights = (state_dict[key] for key in ("epoch", "accuracy", "weights"))
