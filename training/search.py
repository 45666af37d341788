"""Run the trials of a search: each one trains and validates a network, and has no test images."""

import gc
from collections.abc import Callable
from pathlib import Path

import optuna
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from data.splits import Splits
from launch import settings
from launch.errors import MachineError, RunFailed, SettingsError
from launch.space import FAILED, Plan

from .callbacks.compilation import Compilation
from .callbacks.epoch_metrics import EpochMetrics
from .callbacks.finite_loss import FiniteLoss
from .callbacks.interruption import Interruption
from .callbacks.pruning import Pruning
from .fit import fit, prepare
from .log import silence_lightning
from .parts import build
from .study import claim, require_same_data


def work(
    plan: Plan, study: optuna.Study, folder: Path, trials: int, threads: int, say: Callable[[FrozenTrial], None]
) -> None:
    """Run trials until the study has `trials` of them, and call `say` with each one that has ended."""
    silence_lightning()
    changes = {"threads": threads}
    parts = prepare(settings.replace(plan.base.config, changes))
    require_same_data(study, parts.config.data.get("sha256"))
    splits = without_test(parts.splits)
    for corner in plan.corners:
        build(corner, splits)
    while trial := claim(study, plan.space, trials, folder):
        try:
            config = settings.replace(plan.of_trial(trial.params).config, changes)
            value = run_trial(config, splits, trial, folder)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except (RunFailed, SettingsError, MachineError, RuntimeError) as error:  # RuntimeError: too little GPU memory
            trial.set_user_attr(FAILED, " ".join(str(error).split()))
            study.tell(trial, state=TrialState.PRUNED)  # the sampler takes no account of a trial that has failed
        else:
            study.tell(trial, value)
        say(study.get_trials(deepcopy=False)[trial.number])
        gc.collect()  # a trainer and its parts refer to each other


def without_test(splits: Splits) -> Splits:
    """Return the splits without their test images, which no trial can read then."""
    return splits._replace(test=splits.test.part(0, 0))


def run_trial(config: DictConfig, splits: Splits, trial: optuna.Trial, folder: Path) -> float:
    """Train, and return the validation accuracy of the network that train.py would test and store.

    Raises TrialPruned, and RunFailed for a loss that is not finite.
    """
    parts = prepare(config, splits)
    pruning = Pruning(trial)
    with Interruption(folder) as interruption:  # it comes first: nothing is saved, and the trial is repeated
        compilation = Compilation() if config.compile else None
        fit(parts, [interruption, FiniteLoss(), EpochMetrics(), *parts.callbacks, pruning, compilation], folder)
    return max(pruning.accuracies) if config.select == "best" else pruning.accuracies[-1]
