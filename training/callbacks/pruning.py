"""Report the validation accuracy of each epoch to a search, which may end the trial."""

import warnings
from typing import Any

import lightning
import optuna
from lightning.pytorch.callbacks import Callback


class Pruning(Callback):
    """Keeps the accuracies, and raises TrialPruned before the last epoch if the study's pruner says so.

    It comes after EpochMetrics, which gives it the accuracy.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.accuracies: list[float] = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        epoch, accuracy = trainer.current_epoch + 1, round(float(trainer.callback_metrics["val/accuracy"]), 6)
        self.accuracies.append(accuracy)
        with warnings.catch_warnings(action="ignore"):  # a trial that is repeated has reported some epochs already
            self.trial.report(accuracy, epoch)
        if epoch != trainer.max_epochs and self.trial.should_prune():
            raise optuna.TrialPruned
