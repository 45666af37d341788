"""Summarise a search: a line for each trial, the table of the best ones, the best one as a recipe, and the page."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from launch import atomic
from launch.errors import RunFailed, shown
from launch.space import Plan, as_recipe

from .search_results import failure, ranked, text
from .tables import for_terminal, percent

SHOWN = 10  # trials in the table
WIDTH = 80  # characters of a narrow terminal
BEST, PAGE = "best", "search.html"


def line(study: Study, trial: FrozenTrial) -> str:
    """Say how a trial ended."""
    if why := failure(trial):
        return f"trial {trial.number}: failed: {why}"
    if trial.state == TrialState.PRUNED:
        return f"trial {trial.number}: {percent(trial.value)} %, pruned after epoch {trial.last_step}"
    best = ", the best so far" if study.best_trial.number == trial.number else ""
    return f"trial {trial.number}: validation {percent(trial.value)} %{best}"


def write(study: Study, plan: Plan, threads: int, folder: Path, command: str) -> None:
    """Write the best trial as a recipe and the page, and print the table. Raises RunFailed if no trial has finished."""
    trials = study.get_trials(deepcopy=False)
    finished = ranked(trials)
    if not finished:
        raise RunFailed(f"none of the {len(trials)} trials has an accuracy. Try another space, or more --trials.")
    best, test = finished[0], test_command(folder)
    facts = summary(trials, plan.defaults())
    recipe = as_recipe(plan.of_trial(best.params, threads=threads))
    header = (
        f"# @package _global_\n# Trial {best.number}, the best of {len(trials)}, with validation accuracy "
        f"{percent(best.value)} %, found by\n#\n#   {command}\n#\n# To train and test it:\n#\n#   {test}\n"
    )
    (folder / "recipe").mkdir(exist_ok=True)
    atomic.write(folder / "recipe" / f"{BEST}.yaml", (header + recipe).encode())
    print_table(finished[:SHOWN], list(plan.space), [facts, f"-> {shown(folder / PAGE)}", f"test the best: {test}"])

    from . import search_page  # imports plotly and matplotlib, which takes seconds

    atomic.write(folder / PAGE, search_page.render(study, plan, facts, command, test).encode())


def summary(trials: list[FrozenTrial], defaults: dict[str, Any] | None) -> str:
    """Say how many trials there are, and what the best one gains over the default values."""
    finished = ranked(trials)
    counts = Counter("failed" if failure(trial) else trial.state.name for trial in trials)
    parts = [f"{len(trials)} trials: {counts['COMPLETE']} finished"]
    parts += [f"{counts[key]} {word}" for key, word in (("PRUNED", "pruned"), ("failed", "failed")) if counts[key]]
    text = ", ".join(parts)
    for trial in trials:
        if trial.params == defaults and trial in finished:
            gain = 100 * ((finished[0].value or 0) - (trial.value or 0))
            text += (
                f"; the best is {gain:.2f} points above the defaults ({percent(trial.value)} %, trial {trial.number})"
            )
            break
    return f"{text}."


def test_command(folder: Path) -> str:
    return shlex.join(["uv", "run", "train.py", "--config-dir", shown(folder), f"recipe={BEST}"])


def print_table(trials: list[FrozenTrial], keys: list[str], notes: list[str]) -> None:
    """Print a table of trials, with as many keys as fit into WIDTH, and lines below it."""
    from rich.console import Console

    rows = [[str(trial.number), percent(trial.value)] for trial in trials]
    heads, left = ["trial", "val %"], WIDTH - 2 * 7
    for key in keys:
        head = short(key, keys)
        values = [text(trial.params.get(key)) for trial in trials]
        width = 2 + max(len(word) for word in [*values, *head.split("\n")])
        if (left := left - width) < 0:
            notes = [f"not shown: {', '.join(keys[keys.index(key) :])}", *notes]
            break
        heads.append(head)
        rows = [[*row, value] for row, value in zip(rows, values, strict=True)]
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    console.print("", for_terminal([], heads, rows))
    console.print(*notes, sep="\n", soft_wrap=True)


def short(key: str, keys: list[str]) -> str:
    """Return the last part of a key if no other one has it, in lines of one word."""
    last = key.rpartition(".")[2]
    unique = sum(each.rpartition(".")[2] == last for each in keys) == 1
    return (last if unique else key.replace(".", ".\n")).replace("_", "_\n")
