"""The one Lightning module: a network learns to classify."""

import copy
from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric

from launch.errors import RunFailed
from models import WeightsError

from .ema import MovingAverage

FINITE_CHECK_INTERVAL = 50  # batches: on CUDA a look at the loss waits for it, so that not every one is looked at


class ClassificationModule(lightning.LightningModule):
    """Trains `network`, images -> logits, with cross entropy, its labels smoothed by `label_smoothing` (Szegedy et al.,
    "Rethinking the Inception Architecture", 2016), plus `l1` times the sum of the weights' magnitudes; biases and norms
    are left free of that. Validation measures plain cross entropy.

    `optimizer(groups)` and `scheduler(optimizer, epochs=..., steps_per_epoch=...)` make what their names say. With
    `ema` what is validated, and the `result`, is not the network as trained but its average, which moves by 1 - `ema`
    of the way at each step.

    Loss and accuracy are summed on the device and logged once an epoch as `train/loss`, which is what was minimised,
    `train/accuracy`, `val/loss`, `val/accuracy`; the sums are part of the state, so that they outlive a stop.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., LRScheduler],
        label_smoothing: float = 0.0,
        l1: float = 0.0,
        ema: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # 1.04 to 1.35 times as fast on AVX2 cores
        self.train_forward = self.network.forward  # what training calls, and Compilation compiles
        self.optimizer, self.scheduler = optimizer, scheduler
        self.label_smoothing, self.l1, self.ema = label_smoothing, l1, ema
        self.average = copy.deepcopy(network).requires_grad_(False) if ema is not None else None
        self.weights, _ = split_parameters(network)
        self.train_metrics, self.val_metrics = LossAndAccuracy(), LossAndAccuracy()

    @property
    def result(self) -> nn.Module:
        """The network that is validated, tested and stored."""
        return self.network if self.average is None else self.average

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.train_forward(images)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if self.l1:
            loss = loss + self.l1 * sum(weight.abs().sum() for weight in self.weights)
        self.train_metrics.update(logits.detach(), labels, loss.detach())
        if not dist.is_initialized() and (loss.device.type == "cpu" or batch_idx % FINITE_CHECK_INTERVAL == 0):
            self.check_finite(f", batch {batch_idx + 1}")  # several processes look together, in agreement.py
        return loss

    def finish_train_epoch(self) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch, as augmented and while the network changed; the sums begin anew."""
        self.check_finite()
        values = self.train_metrics.compute_and_reset()
        self.log_dict({f"train/{name}": value for name, value in values.items()})
        return values

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, labels = batch
        logits = self.result(images)
        self.val_metrics.update(logits, labels, functional.cross_entropy(logits, labels))

    def on_validation_epoch_end(self) -> None:
        values = self.val_metrics.compute_and_reset()
        self.log_dict({f"val/{name}": value for name, value in values.items()}, prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.optimizer(parameter_groups(self.network))
        epochs = self.trainer.max_epochs
        assert epochs is not None
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // epochs
        scheduler = self.scheduler(optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        if self.global_rank:
            self.train_metrics.reset()  # those in a checkpoint are of all processes: the first goes on with them
        if self.average is not None and self.ema is not None:
            self.moving_average = MovingAverage(self.average, self.network, self.ema)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Lightning's own refuses fused optimizers under bf16-mixed, where nothing is scaled that would forbid it."""
        if gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.moving_average.update(self.global_step)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        shapes = {key: tensor.shape for key, tensor in self.state_dict().items()}
        found = {key: tensor.shape for key, tensor in checkpoint["state_dict"].items()}
        if differing := sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key)):
            raise WeightsError(
                f"the checkpoint is one of another network: {differing[0]} differs, and {len(differing) - 1} more. "
                "Start a new run."
            )

    def check_finite(self, where: str = "") -> None:
        """Raises RunFailed if a loss of this epoch was not finite, in any process; all of them have to ask."""
        loss = self.train_metrics.loss
        if dist.is_initialized():
            dist.all_reduce(loss := loss.clone())
        if not torch.isfinite(loss):
            raise RunFailed(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}{where}. "
                "Try a smaller optimizer.lr, gradient_clip=1, or scheduler=one_cycle, which warms up."
            )


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights, and the biases and norms, which have one dimension: penalties on size leave these alone."""
    parameters = list(network.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    weights, others = split_parameters(network)
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class LossAndAccuracy(Metric):
    """Loss and accuracy over the images seen since the last `finish`: three sums on the device, and no other work.

    torchmetrics' own MeanMetric and MulticlassAccuracy give the same figures at seven times the cost of a step.
    """

    full_state_update = False
    loss: Tensor
    right: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum", persistent=True)
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum", persistent=True)
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum", persistent=True)

    def update(self, logits: Tensor, labels: Tensor, mean_loss: Tensor) -> None:
        self.loss.add_(mean_loss, alpha=len(labels))
        self.right += (logits.argmax(dim=1) == labels).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        return {"loss": self.loss / self.images, "accuracy": self.right / self.images}

    def compute_and_reset(self) -> dict[str, Tensor]:
        values = self.compute()
        self.reset()
        return values
