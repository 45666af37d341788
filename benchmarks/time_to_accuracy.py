"""Measure the seconds, of training and of the whole process, that a recipe needs for a given test accuracy.

A recipe's schedule is fixed and was chosen on validation. Every run is tested once; a recipe reaches the level if its
mean over the seeds does. For each seed the contenders take turns, each in a process of its own. The results are saved
after every turn, and resumed by a command with the same --save:

    uv run python -m benchmarks.time_to_accuracy --recipes fast-mnist --level 99 --example-epochs 4 --save mnist_99
    uv run python -m benchmarks.time_to_accuracy --recipes fast-fashion_mnist --level 90 --seeds 1,2,3
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import yaml

import publish
from launch import errors, flags, processes
from reports import tables
from training.machine import describe_machine

from . import saved
from .pytorch_example import unpack

EXAMPLE = "pytorch/examples"


def main() -> int:
    command = read_flags()
    settings: dict[str, Any] = {name: read_recipe(name) for name in command.recipes}
    if command.example_epochs:
        settings[EXAMPLE] = {"epochs": command.example_epochs}
    results = {"machine": describe_machine(), "level": command.level, "contenders": settings, "turns": []}
    results = saved.load(command.save, results, "machine", "level", "contenders")
    with tempfile.TemporaryDirectory() as unpacked:
        if command.example_epochs:
            unpack(Path(unpacked))
        for seed in command.seeds:
            if seed in (turn["seed"] for turn in results["turns"]):
                continue
            runs = {name: run(name, settings[name]["epochs"], seed, Path(unpacked)) for name in settings}
            results["turns"].append({"seed": seed, "runs": runs})
            if command.save:
                saved.save(command.save, results, page(results))
            print(page(results), flush=True)
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("python -m benchmarks.time_to_accuracy", __doc__)
    add = parser.add_argument
    add("--recipes", nargs="+", default=["fast-mnist"], type=publish.recipe, help="ratios are to the first of them")
    add("--level", type=float, default=99.0, help="test accuracy in %% (default: 99)")
    add("--example-epochs", type=int, metavar="N", help=f"add the MNIST example of {EXAMPLE}, for N epochs")
    add("--seeds", default="1,2,3,4,5,6,7,8,9,10", metavar="S,S,...", type=publish.seeds, help="default: 1 to 10")
    add("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json, or resume them")
    return parser.parse_args()


def read_recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((publish.RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def run(name: str, epochs: int, seed: int, unpacked: Path) -> dict[str, float]:
    """Run a contender as a process and return its test accuracy (a share) and seconds.

    `unpacked` is the root folder of torchvision's MNIST. Raises RunFailed if the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "metrics.json")
        if name == EXAMPLE:
            words = ["-m", "benchmarks.pytorch_example", f"--epochs={epochs}", f"--seed={seed}"]
            words += [f"--root={unpacked}", f"--output={output}"]
        else:
            words = ["train.py", f"recipe={name}", f"seed={seed}", f"run_dir={folder}"]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users keep bytecode, which saves seconds at start
        began = time.perf_counter()
        if processes.run([sys.executable, *words], cwd=publish.RECIPES.parents[1]):
            raise errors.RunFailed(f"{name} failed with seed {seed}.")
        seconds = time.perf_counter() - began
        found = json.loads(output.read_bytes())
    return {"accuracy": found["test"]["accuracy"], "train_seconds": found["train_seconds"], "process_seconds": seconds}


def table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a table, head first, with a row per contender; ratios to the first are taken within a turn."""
    turns = [turn["runs"] for turn in results["turns"]]
    first = next(iter(results["contenders"]))
    heads = ["contender", "epochs", "test %", f"{results['level']:g} %", "training s", "process s"]
    lines = [(*heads, f"training / {first}", f"process / {first}")]
    for name, settings in results["contenders"].items():
        accuracies = [100 * runs[name]["accuracy"] for runs in turns]
        sd = f" ± {stdev(accuracies):.2f}" if len(turns) > 1 else ""
        reached = "reached" if mean(accuracies) >= results["level"] else "not reached"
        taken, ratios = [], []
        for kind in ("train_seconds", "process_seconds"):
            taken.append(median_and_range([runs[name][kind] for runs in turns]))
            ratios.append(median_and_range([runs[name][kind] / runs[first][kind] for runs in turns]))
        lines.append((name, str(settings["epochs"]), f"{mean(accuracies):.2f}{sd}", reached, *taken, *ratios))
    return lines


def median_and_range(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def page(results: dict[str, Any]) -> str:
    """Return the results as a Markdown page."""
    seeds = ", ".join(str(turn["seed"]) for turn in results["turns"])
    return (
        f"# Seconds to a test accuracy of {results['level']:g} %\n\n"
        f"{results['machine']}. Seeds {seeds}: mean and standard deviation of the accuracy, the level reached if the "
        "mean does; medians of the seconds, and of the ratios within a turn (least to most).\n\n"
        + tables.markdown(*table(results))
    )


if __name__ == "__main__":
    flags.run(main)
