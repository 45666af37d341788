"""Keep a search as a study of Optuna, in one file that several processes may write, and give out its trials.

What is random follows from the seed and the number of a trial, and a trial that a process has left is repeated under
its number. One process therefore finds the same trials however often it was killed. This file imports no torch.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DatabaseError

from launch.errors import SettingsError
from launch.space import Choices, Range
from models import WeightsError

DATA = "sha256 of the data"
BUSY = 60  # seconds to wait for another process that writes the study
FIRST_UNPRUNED = 5  # finished trials, before others are compared with their median: Optuna's default
UNPRUNED_SHARE = 1 / 3  # of the epochs: one_cycle warms up in the first 0.3, when accuracies say little of the last one


class Sampler(BaseSampler):
    """Samples by the tree-structured Parzen estimator (Bergstra et al., NIPS 2011), anew for each trial."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return TPESampler().infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._of(trial, zlib.crc32(param_name.encode()))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial, *key: int) -> TPESampler:
        return TPESampler(seed=int(np.random.SeedSequence([self.seed, trial.number, *key]).generate_state(1)[0]))


def open_study(file: Path, seed: int, epochs: int) -> optuna.Study:
    """Open the study in a file, or a new one. Raises WeightsError if it is damaged."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    unpruned = math.ceil(UNPRUNED_SHARE * epochs)
    try:
        return optuna.create_study(
            storage=RDBStorage(f"sqlite:///{file}", engine_kwargs={"connect_args": {"timeout": BUSY}}),
            study_name="search",
            sampler=Sampler(seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_UNPRUNED, n_warmup_steps=unpruned),
            direction="maximize",
            load_if_exists=True,
        )
    except DatabaseError as error:
        reason = str(error.orig).rstrip(".")
        raise WeightsError(f"{file} cannot be read ({reason}). Start the search anew, in another --folder.") from None


def require_same_data(study: optuna.Study, sha256: str | None) -> None:
    """Record the hash of the user's own data. Raises SettingsError if the search began with others."""
    if study.user_attrs.get(DATA, sha256) != sha256:
        raise SettingsError("the images or labels have changed since the search began. Name another --folder.")
    study.set_user_attr(DATA, sha256)


def enqueue_trials(study: optuna.Study, defaults: dict[str, Any] | None) -> None:
    """Enqueue a trial of the default values in a new study, and trials that no process is running any more."""
    if defaults and not study.get_trials(deepcopy=False):
        study.enqueue_trial(defaults)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def claim(study: optuna.Study, space: dict[str, Range], trials: int, folder: Path) -> optuna.Trial | None:
    """Return a trial to run, one that was left or a new one; None if there are enough. Processes take turns."""
    with FileLock(folder / ".claim.lock"):
        found = study.get_trials(deepcopy=False)
        if len(found) >= trials and all(trial.state != TrialState.WAITING for trial in found):
            return None
        return study.ask({key: distribution(each) for key, each in space.items()})


def distribution(each: Range) -> BaseDistribution:
    if isinstance(each, Choices):
        return CategoricalDistribution(each.choices)
    if each.is_whole:
        return IntDistribution(int(each.low), int(each.high), each.log, int(each.step or 1))
    return FloatDistribution(each.low, each.high, each.log, each.step)
