"""Train recipes and publish their weights: weights/<recipe>.safetensors, its card, and the tables of results.

`--missing` takes every recipe that has a floor and a goal, but no weights or damaged ones. A stopped run is resumed, a
finished run is used as it is. The published network is that of the first seed; the others show how much the seed
matters. Published weights with a better validation accuracy are kept.
"""

import argparse
from pathlib import Path

from launch import errors, flags
from models import WeightsError, cards, did_you_mean
from reports import results_table, targets

RECIPES = Path(__file__).resolve().parent / "configs" / "recipe"


def main() -> int:
    command = read_flags()
    from training import publishing  # imports torch

    failed = []
    for name in command.recipes:
        try:
            print(publishing.publish(name, [publishing.train(name, seed) for seed in command.seeds]), flush=True)
            results_table.update_pages()
            if results_table.lacks_reason(cards.read(name)):
                print(f"{name} is below its floor: give the reason in WHY_UNDER_THE_FLOOR of reports/targets.py")
        except (WeightsError, errors.RunFailed) as error:  # go on with the next recipe
            failed.append(name)
            errors.report(error)
    if failed:
        raise errors.RunFailed(f"not published: {', '.join(failed)}.")
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("publish.py", __doc__)
    add = parser.add_argument
    add("recipes", nargs="*", metavar="RECIPE", type=recipe, help="train this recipe and publish its weights")
    add("--missing", action="store_true", help="publish every recipe that has a floor and a goal, but no weights")
    add("--seeds", default="1,2,3", metavar="S,S,...", type=seeds, help="default: 1,2,3")
    command = parser.parse_args()
    if bool(command.recipes) == command.missing:
        raise errors.SettingsError("name recipes, or give --missing.")
    for name in command.recipes:
        if not targets.targets(name):
            raise errors.SettingsError(f"{name} has no floor and goal. Add them to TARGETS of reports/targets.py.")
    if command.missing:
        command.recipes = [name for name in recipes() if targets.targets(name) and is_missing(name)]
    for page in results_table.PAGES:
        results_table.replace_table(page, "")  # fails before hours of training rather than after them
    return command


def recipes() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


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


def is_missing(name: str) -> bool:
    """Return whether a recipe has no published weights, or damaged ones."""
    try:
        cards.read(name)
    except WeightsError:
        return True
    return False


if __name__ == "__main__":
    flags.run(main)
