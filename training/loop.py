"""A step of training, and nothing around it that nobody asked for.

Lightning's own goes through some thirty hooks, contexts and records, whoever uses them: half a millisecond, which a
LeNet feels. This one does the same and leaves the same behind, counters included: a run goes on under either.
"""

from typing import Any

import lightning
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

# What this step does not call:
CALLBACK_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
MODULE_HOOKS = (
    *CALLBACK_HOOKS,
    *("on_train_batch_start", "on_train_batch_end", "optimizer_zero_grad", "backward", "lr_scheduler_step"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)


class FastEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, for ClassificationModule: its batches are on the device, it
    has one optimizer and a schedule that moves at every step, accumulates no gradients and logs nothing within a step.
    Where a callback or the module has one of the hooks above, or losses are scaled (16-mixed), and at the first step
    after a stop, which settles the counters, a step is Lightning's own.
    """

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer: Any = self.trainer
        module = trainer.lightning_module
        self.fast_path = not (
            any(is_overridden(hook, module) for hook in MODULE_HOOKS)
            or any(is_overridden(hook, callback) for hook in CALLBACK_HOOKS for callback in trainer.callbacks)
            or getattr(trainer.precision_plugin, "scaler", None)
        )

    def advance(self, data_fetcher: Any) -> None:
        if self.restarting or not self.fast_path:
            super().advance(data_fetcher)
            return
        trainer: Any = self.trainer
        module = trainer.lightning_module
        optimizer, progress = trainer.optimizers[0], self.automatic_optimization.optim_progress.optimizer

        batch, _, _ = next(data_fetcher)
        index = self.batch_idx + 1
        self.batch_progress.is_last_batch = data_fetcher.done
        self.batch_progress.increment_ready()
        for callback in trainer.callbacks:
            callback.on_train_batch_start(trainer, module, batch, index)
        self.batch_progress.increment_started()

        outputs: dict[str, Tensor] = {}

        def closure() -> Tensor:
            loss = trainer.strategy.training_step(batch, index)
            progress.zero_grad.increment_ready()
            progress.zero_grad.increment_started()
            optimizer.zero_grad()
            progress.zero_grad.increment_completed()
            loss.backward()
            outputs["loss"] = loss.detach()
            module.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
            return loss

        progress.step.increment_ready()
        module.optimizer_step(trainer.current_epoch, index, optimizer, closure)
        progress.step.increment_completed()
        self.batch_progress.increment_processed()
        for config in trainer.lr_scheduler_configs:
            self.scheduler_progress.increment_ready()
            config.scheduler.step()
            self.scheduler_progress.increment_completed()

        for callback in trainer.callbacks:
            callback.on_train_batch_end(trainer, module, outputs, batch, index)
        self.batch_progress.increment_completed()


def install_fast_loop(trainer: lightning.Trainer) -> lightning.Trainer:
    """`trainer` with steps of this kind."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = FastEpochLoop(trainer, loop.min_steps, loop.max_steps)
    return trainer
