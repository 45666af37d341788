"""Run the batches of an epoch with fewer calls than Lightning's own loop.

Lightning's step goes through some thirty hooks, contexts and records, whether or not anything uses them: half a
millisecond, which a LeNet notices. `FastEpochLoop` does the same in fewer calls and leaves the same state, counters
included, so that a run can be resumed under either. Which file acts when:

A step
    data/batches.py               seeds the generators by (seed, epoch, batch); gathers, augments, standardises
    callbacks/history.py          notes the learning rate of the last batch
    module.py training_step       forward pass, loss; adds both to the running metrics
    module.py                     backward pass, gradient clipping, optimizer step, average (`ema`); schedule step
    callbacks/synchronisation.py  several processes only: exchanges what the next ones ask
    callbacks/finite_loss.py      fails if the loss is not finite
    callbacks/history.py          measures the speed, at the last batch
    callbacks/interruption.py     raises Interrupted if a signal came
    callbacks/checkpoints.py      saves, every so many minutes

The end of an epoch, in this order
    module.py validation_step     adds every validation batch to the running metrics
    callbacks/finite_loss.py      fails if the loss is not finite
    callbacks/epoch_metrics.py    closes and logs the loss and accuracy of both splits
    callbacks/best_weights.py     copies the weights if they are the best (`select=best`)
    callbacks/pruning.py          a search only: reports the accuracy, and may end the trial
    callbacks/history.py          writes the row of the epoch: metrics.csv, metrics.json, the log line
    callbacks=...                 those of the configuration; EarlyStopping, by Lightning's rule, after all others
    callbacks/interruption.py     leaves a signal to the next batch, or to the end of the training
    callbacks/contention.py       says so if other processes take the cores
    callbacks/checkpoints.py      saves

A stop
    callbacks/interruption.py     raises Interrupted after the step in progress
    callbacks/checkpoints.py      on_exception: saves the network, optimizer, schedule, counters, metrics and rows
    callbacks/history.py          sets the status in metrics.json: interrupted, or failed
    launch/errors.py              the line on the terminal and the exit status
    data_module.py                when resumed: the epoch and batch to continue at
"""

from typing import Any

import lightning
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

# What the fast step does not call:
CALLBACK_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
MODULE_HOOKS = (
    *CALLBACK_HOOKS,
    *("on_train_batch_start", "on_train_batch_end", "optimizer_zero_grad", "backward", "lr_scheduler_step"),
    *("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"),
)


STEP_HOOKS = ("on_train_batch_start", "on_train_batch_end")  # which the fast step calls, but lets nothing be logged


def is_own(callback: Any) -> bool:
    """Return whether a callback is the user's own."""
    return not type(callback).__module__.startswith(("training.", "lightning."))


class FastEpochLoop(_TrainingEpochLoop):
    """Lightning's loop, for a module like ours: batches that are on the device, one optimizer, a schedule that moves at
    every step, no accumulated gradients, nothing logged within a step.

    A step is Lightning's own where the module or a callback has one of the hooks above, where losses are scaled
    (16-mixed), and at the first step of a resumed run, which corrects the counters.
    """

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer: Any = self.trainer
        module = trainer.lightning_module
        self.fast_path = not (
            any(is_overridden(hook, module) for hook in MODULE_HOOKS)
            or any(is_overridden(hook, callback) for hook in CALLBACK_HOOKS for callback in trainer.callbacks)
            or any(
                is_overridden(hook, callback)
                for hook in STEP_HOOKS
                for callback in trainer.callbacks
                if is_own(callback)
            )
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
    """Return the trainer with FastEpochLoop in place of its own loop over batches."""
    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = FastEpochLoop(trainer, loop.min_steps, loop.max_steps)
    return trainer
