"""Which epoch's network a run ends with when it is not the last one's (`select=best`)."""

from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from ..module import ClassificationModule


class BestWeights(Callback):
    """Keeps a copy of the network as validated best so far, the earliest of equals.

    The copy travels in the run's own checkpoints, so that a resumed run has it whichever of them it goes on from.
    """

    def __init__(self) -> None:
        self.epoch, self.accuracy = 0, -1.0
        self.network: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: ClassificationModule) -> None:  # type: ignore[override]
        accuracy = float(trainer.callback_metrics["val/accuracy"])
        if accuracy > self.accuracy:
            self.epoch, self.accuracy = trainer.current_epoch + 1, accuracy
            self.network = {key: tensor.clone() for key, tensor in pl_module.result.state_dict().items()}

    def restore(self, network: nn.Module) -> None:
        with torch.no_grad():
            network.load_state_dict(self.network)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "accuracy": self.accuracy, "network": self.network}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epoch, self.accuracy, self.network = (state_dict[key] for key in ("epoch", "accuracy", "network"))
