"""Search the hyper-parameters of a network by validation accuracy, with Optuna. The test set is never used.

What is not a flag is key=value of train.py, and holds for all trials. The same command goes on with a search that was
stopped, and with more --trials it makes a search longer.
"""

import argparse
import contextlib
import logging
import re
import shlex
import sqlite3
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from launch import atomic, errors, flags, processes, signals, threads
from launch.errors import Interrupted, SettingsError
from launch.imports import import_lightning
from launch.resume import read_yaml
from launch.space import Plan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ROOT = Path(__file__).resolve().parent
sys.path.append(str(Path.cwd()))  # for modules of the user's own, such as model._target_=my_networks.Tiny
RECORD, STUDY = "search.yaml", "study.db"
PACKAGES = ("optuna", "plotly")
EXAMPLES = """
  tune.py model=lenet data=fashion_mnist --trials 30    the space of configs/search.yaml
  tune.py recipe=gru-fashion_mnist epochs=5 --jobs 2    from a recipe, in two processes
  tune.py model=mlp --space my_space.yaml               a space of your own

The folder gets study.db, search.html with Optuna's plots, and recipe/best.yaml for train.py.
"""


def main() -> int:
    command = read_flags()
    plan = Plan(command.overrides, command.space, ROOT / "runs")
    if missing := [package for package in PACKAGES if not find_spec(package)]:
        raise errors.MachineError(f"a search needs {' and '.join(missing)}. Run it with: {command_line()}")
    folder = command.folder or default_folder(plan)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it may list the fonts when it is imported
    with signals.handling(signals.stop):
        try:
            if command.worker:
                threading.Thread(target=processes.stop_with_launcher, daemon=True).start()
                search(command, plan, folder, read_yaml(folder / RECORD, dict)["threads"])
                return 0
            return lead(command, plan, folder)
        except Interrupted as error:
            raise Interrupted(f"{error}; {command_line()} goes on with it", error.status) from None
        except errors.ProcessLost as error:
            raise errors.ProcessLost(f"{error}; {command_line()} goes on with it") from None


def command_line() -> str:
    """Return the command that was given."""
    return shlex.join(["uv", "run", "--extra", "search", "tune.py", *sys.argv[1:]])


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("tune.py", __doc__, EXAMPLES)
    add = parser.add_argument
    add("overrides", nargs="*", metavar="KEY=VALUE", help="as in train.py, for all trials; their keys are not searched")
    add("--trials", type=count, default=30, metavar="N", help="how many the search has in the end (default: 30)")
    add("--jobs", type=count, default=1, metavar="N", help="processes, which share the cores (default: 1)")
    add("--seed", type=int, default=1, metavar="S", help="of the sampler; seed= is that of each training (default: 1)")
    add("--space", type=Path, metavar="FILE", help="what is searched (default: configs/search.yaml)")
    add("--folder", type=folder, metavar="DIR", help="default: runs/search_<model>_<data>")
    add("--worker", action="store_true", help=argparse.SUPPRESS)  # one of the processes of --jobs
    return parser.parse_intermixed_args()


def count(word: str) -> int:
    if not (word.isdecimal() and int(word)):
        raise argparse.ArgumentTypeError(f"{word} is no whole number above 0")
    return int(word)


def folder(word: str) -> Path:
    return Path(word).expanduser().absolute()


def default_folder(plan: Plan) -> Path:
    name = f"search_{plan.base.config.model.name}_{plan.base.config.data.name}"
    return ROOT / "runs" / re.sub(r"[^\w.-]", "-", name)


def lead(command: argparse.Namespace, plan: Plan, folder: Path) -> int:
    """Run or start the trials that are missing, and summarise all; return the exit status."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"{folder} is searched by another command. Wait for it, or name another --folder."
        ) from None
    except OSError as error:
        raise errors.MachineError(f"{folder} cannot be written ({error.strerror}). Name another --folder.") from None
    with lock:
        number = begin(command, plan, folder)
        with signals.deferred():
            from reports import search_summary
            from training.study import enqueue_trials, open_study

        study = open_study(folder / STUDY, command.seed, plan.base.config.epochs)
        enqueue_trials(study, plan.defaults())
        if command.jobs == 1:
            search(command, plan, folder, number)
        elif status := processes.run_all([[sys.executable, __file__, *sys.argv[1:], "--worker"]] * command.jobs):
            return status
        search_summary.write(study, plan, number, folder, command_line())
        return 0


def begin(command: argparse.Namespace, plan: Plan, folder: Path) -> int:
    """Record a new search, or compare it with the record; return the threads of each process."""
    new: dict[str, Any] = {"--seed": command.seed, **plan.record()}
    recorded = read_yaml(folder / RECORD, dict) if (folder / RECORD).exists() else {}
    old = recorded.get("search", new)
    differing = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    if differing and has_ended_trials(folder):
        key = min(differing, key=lambda key: (not key.endswith(("name", "_target_")), key))
        raise SettingsError(
            f"{errors.shown(folder)} holds another search: {key} is {old.get(key)} there, and {new.get(key)} in this "
            "command. Repeat that one, or name another --folder."
        )
    if differing:
        (folder / STUDY).unlink(missing_ok=True)
    wanted = threads.given(plan.base.config.threads, recorded.get("threads"))
    found = wanted or (threads.idle_cores() if command.jobs == 1 else max(1, threads.cores() // command.jobs))
    content = {"command": command_line(), "threads": found, "search": new}
    atomic.write(folder / RECORD, yaml.safe_dump(content, sort_keys=False, width=1000).encode())
    return found


def has_ended_trials(folder: Path) -> bool:
    """Return whether a search has found something: not if it was refused at its start. Optuna would take a second."""
    if not (folder / STUDY).exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(folder / STUDY)) as study:
            return bool(study.execute("SELECT 1 FROM trials WHERE datetime_complete IS NOT NULL").fetchone())
    except sqlite3.Error:
        return True  # perhaps


def search(command: argparse.Namespace, plan: Plan, folder: Path, number: int) -> None:
    """Run trials in this process, with this number of threads."""
    with signals.deferred():
        import_lightning()
        from reports.search_summary import line
        from training.search import work
        from training.study import open_study

    study = open_study(folder / STUDY, command.seed, plan.base.config.epochs)

    def say(trial: "FrozenTrial") -> None:
        print(line(study, trial), flush=True)

    work(plan, study, folder, command.trials, number, say)


if __name__ == "__main__":
    flags.run(main)
