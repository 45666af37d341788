"""Read the trials of a search."""

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from launch.space import FAILED


def failure(trial: FrozenTrial) -> str | None:
    """Return why a trial has no accuracy."""
    return trial.user_attrs.get(FAILED)


def ranked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials, the best first, the earliest of equals first."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(finished, key=lambda trial: (-(trial.value or 0), trial.number))


def text(value: Any) -> str:
    """Write a value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
