"""The one Lightning module: a network learns to classify images."""

import copy
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from models import WeightsError, did_you_mean

from .ema import MovingAverage
from .machine import to_channels_last
from .metrics import LossAndAccuracy


class ClassificationModule(lightning.LightningModule):
    """Trains `network`, images -> logits, to minimise `loss(logits, labels)` plus `l1` times the sum of the weights'
    magnitudes, without biases and norms. Validation measures plain cross entropy, whatever the loss.

    `optimizer(groups)` makes the optimizer of parameter groups, `scheduler(optimizer, steps_per_epoch=...)` its
    schedule. With `ema`, `eval_network` is a moving average of the trained network, of which each step replaces
    1 - `ema`; else it is the network itself.

    `train_metrics` and `val_metrics` sum up an epoch; the callback EpochMetrics closes them.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., LRScheduler],
        l1: float = 0.0,
        ema: float | None = None,
    ) -> None:
        super().__init__()
        self.network = to_channels_last(network)
        self.train_forward = self.network.forward  # what training calls, and the callback Compilation compiles
        self.loss, self.optimizer, self.scheduler = loss, optimizer, scheduler
        self.l1, self.ema = l1, ema
        self.average = copy.deepcopy(network).requires_grad_(False) if ema is not None else None
        self.weights, _ = split_parameters(network)
        self.frozen = [stage for stage in network.children() if is_frozen(stage)]
        self.train_metrics, self.val_metrics = LossAndAccuracy(), LossAndAccuracy()

    @property
    def eval_network(self) -> nn.Module:
        """The network that is validated, tested and stored."""
        return self.network if self.average is None else self.average

    def train(self, mode: bool = True) -> "ClassificationModule":
        """Change to training or evaluation; frozen stages stay in evaluation, for the sake of their batch norms."""
        super().train(mode)
        for stage in self.frozen:
            stage.eval()
        return self

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.train_forward(images)
        loss = self.loss(logits.float(), labels)  # some losses have no 16 bits
        if self.l1:
            loss = loss + self.l1 * sum(weight.abs().sum() for weight in self.weights)
        self.train_metrics.update(logits.detach(), labels, loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.eval_network(images)
        self.val_metrics.update(logits, labels, functional.cross_entropy(logits, labels))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(parameter_groups(self.network))
        epochs = self.trainer.max_epochs
        assert epochs is not None
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // epochs
        scheduler = self.scheduler(optimizer, steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        if self.average is not None and self.ema is not None:
            self.moving_average = MovingAverage(self.average, self.network, self.ema)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm. Lightning's own refuses fused optimizers under bf16-mixed, where no scaling forbids it."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.moving_average.update(self.global_step)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raise WeightsError for a checkpoint of another network."""
        shapes = {key: tensor.shape for key, tensor in self.state_dict().items()}
        found = {key: tensor.shape for key, tensor in checkpoint["state_dict"].items()}
        if differing := sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key)):
            raise WeightsError(
                f"the checkpoint is of another network: {differing[0]} differs, and {len(differing) - 1} more. "
                "Start a new run."
            )


def freeze(network: nn.Module, stages: list[str]) -> None:
    """Keep the weights of these stages, children of the network. Raises ValueError for a name that is none of them, and
    if nothing is left to train.
    """
    children = dict(network.named_children())
    for name in stages:
        if name not in children:
            raise ValueError(f"freeze: there is no stage {name!r}{did_you_mean(name, children)}")
        children[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(
            f"freeze={','.join(stages)} leaves no weights to train."
            if stages
            else "the network has no weights to train."
        )


def is_frozen(stage: nn.Module) -> bool:
    return any(True for _ in stage.parameters()) and not any(each.requires_grad for each in stage.parameters())


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trained weights, and the biases and norms, which have one dimension and no penalty on their size."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return the parameters as optimizers take them, biases and norms without weight decay."""
    weights, others = split_parameters(network)
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
