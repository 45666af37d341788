"""Train recipes and publish their weights: weights/<recipe>.safetensors, its card, and the tables of results.

`--missing` takes every recipe that has a floor and a goal, but no weights or damaged ones; where there is a CUDA GPU it
takes gpu/<recipe>, which trains longer, if that exists. A stopped run is resumed, a finished run is used as it is. The
published network is that of the first seed; the others show how much the seed matters. Published weights with a better
validation accuracy are kept.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from data import DATASETS
from launch import errors, flags, trainings
from launch.trainings import Training
from models import WeightsError, cards, did_you_mean
from reports import results_table, targets
from reports.tables import for_terminal, percent

ROOT = Path(__file__).resolve().parent
RECIPES = ROOT / "configs" / "recipe"
GPU = "gpu/"  # in the names of recipes that need one


def main() -> int:
    command = read_flags()
    from training import machine, publishing  # imports torch

    device = machine.choose_accelerator("auto")
    if command.missing and device == "cuda":
        command.recipes = [GPU + name if GPU + name in recipes() else name for name in command.recipes]
    wanted = [Training(recipe, seed, ROOT / "runs") for recipe in command.recipes for seed in command.seeds]
    ended, failed = defaultdict(list), []
    for training in trainings.train(wanted, command.jobs):
        ended[training.recipe].append(training)
        if len(ended[training.recipe]) < len(command.seeds):
            continue
        runs = sorted(ended[training.recipe], key=lambda each: command.seeds.index(each.seed))
        try:
            print(publishing.publish(runs, device), flush=True)
            results_table.update_pages()
            if results_table.lacks_reason(cards.read(training.name)):
                print(f"{training.name} is below its floor: say why in WHY_UNDER_THE_FLOOR of reports/targets.py")
        except (WeightsError, errors.RunFailed) as error:  # go on with the next recipe
            failed.append(training.recipe)
            errors.report(error)
    print_results([runs[0].name for recipe, runs in ended.items() if recipe not in failed])
    if failed:
        raise errors.RunFailed(f"not published: {', '.join(failed)}.")
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("publish.py", __doc__)
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", type=recipe, help="train this recipe and publish its weights")
    add("--missing", action="store_true", help="publish every recipe that has a floor and a goal, but no weights")
    add("--networks", metavar="N,N,...", type=networks, help="only these of them, such as lenet,lenet_relu")
    add("--data", help=f"only those of a data set: {' or '.join(DATASETS)}")
    add("--jobs", default=1, metavar="N", type=jobs, help="how many trainings run side by side (default: 1)")
    add("--seeds", default="1,2,3", metavar="S,S,...", type=seeds, help="default: 1,2,3")
    command = parser.parse_args()
    flags.check(command, data=DATASETS)
    if bool(command.recipes) == command.missing:
        raise errors.SettingsError("name recipes, or give --missing.")
    for name in command.recipes:
        if not targets.targets(name):
            raise errors.SettingsError(f"{name} has no floor and goal. Add them to TARGETS of reports/targets.py.")
    if command.missing:
        command.recipes = [name for name in recipes() if "/" not in name and targets.targets(name) and is_missing(name)]
    for name in list(command.recipes):
        network, _, data_set = name.rpartition("/")[2].partition("-")
        if network not in (command.networks or [network]) or data_set != (command.data or data_set):
            command.recipes.remove(name)
    for page in results_table.PAGES:
        results_table.replace_table(page, "")  # fails before hours of training rather than after them
    return command


def recipes() -> list[str]:
    return sorted(path.relative_to(RECIPES).with_suffix("").as_posix() for path in RECIPES.rglob("*.yaml"))


def recipe(name: str) -> str:
    """Return the name of a recipe as it is. Raises SettingsError if there is no such recipe."""
    if name not in recipes():
        raise errors.SettingsError(f"there is no recipe {name!r}{did_you_mean(name, recipes())}")
    return name


def seeds(word: str) -> list[int]:
    """Parse seeds such as "1,2,3". Raises SettingsError if one is not a whole number or is repeated."""
    numbers = word.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise errors.SettingsError(f"--seeds {word} is not valid, expected whole numbers such as 1,2,3.")
    if len(set(map(int, numbers))) < len(numbers):
        raise errors.SettingsError(f"--seeds {word} repeats a seed.")
    return [int(number) for number in numbers]


def networks(word: str) -> list[str]:
    """Parse names such as "lenet,lenet_relu". Raises SettingsError if one has no recipe with a floor and a goal."""
    for name in word.split(","):
        if name not in targets.TARGETS:
            raise errors.SettingsError(f"there are no recipes of {name!r}{did_you_mean(name, targets.TARGETS)}")
    return word.split(",")


def jobs(word: str) -> int:
    if not (word.isdecimal() and int(word)):
        raise errors.SettingsError(f"--jobs {word} is not valid, expected a whole number of trainings such as 2.")
    return int(word)


def is_missing(name: str) -> bool:
    """Return whether a recipe has no published weights, or damaged ones."""
    try:
        cards.read(name)
    except WeightsError:
        return True
    return False


def print_results(names: Iterable[str]) -> None:
    """Print a table of these published weights."""
    from rich.console import Console

    rows = []
    for file in map(cards.read, names):
        val, test = (percent(file.card["metrics"][split]["accuracy"]) for split in ("val", "test"))
        floor, goal = (f"{target:.2f}" for target in targets.targets(file.path.stem) or ())
        rows.append([file.path.stem, val, test, floor, goal, f"{len(file.content) / 1e3:,.0f}"])
    Console(highlight=False).print(for_terminal(["weights"], ["val %", "test %", "floor", "goal", "kB"], rows))


if __name__ == "__main__":
    flags.run(main)
