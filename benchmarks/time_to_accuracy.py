"""Seconds of training, and of the whole process, until a recipe's schedule has ended at an accuracy that was asked for.

A recipe's schedule is fixed and was chosen by validation. Every run is tested once; a recipe reaches the level if the
mean over the seeds does. For each seed the contenders take turns, each in a process of its own. After every turn the
results are saved, and a command with the same name goes on from there:

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
from benchmarks import saved
from benchmarks.pytorch_example import unpack
from launch import errors, flags
from training.machine import describe_machine

EXAMPLE = "pytorch/examples"


def main() -> int:
    command = read_flags()
    settings: dict[str, Any] = {name: read_recipe(name) for name in command.recipes}
    if command.example_epochs:
        settings[EXAMPLE] = {"epochs": command.example_epochs}
    results = {"machine": describe_machine(), "level": command.level, "contenders": settings, "turns": []}
    results = saved.go_on(command.save, results, "machine", "level", "contenders")
    with tempfile.TemporaryDirectory() as unpacked:
        if command.example_epochs:
            unpack(Path(unpacked))
        for seed in command.seeds:
            if seed in (turn["seed"] for turn in results["turns"]):
                continue
            runs = {name: run(name, settings[name]["epochs"], seed, Path(unpacked)) for name in settings}
            results["turns"].append({"seed": seed, "runs": runs})
            if command.save:
                saved.save(command.save, results, markdown(results))
            print(markdown(results), flush=True)
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags(
        prog="python -m benchmarks.time_to_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--recipes", nargs="+", default=["fast-mnist"], help="the others are compared with the first of them")
    add("--level", type=float, default=99.0, help="of test accuracy in %% (default: 99)")
    add("--example-epochs", type=int, metavar="N", help=f"beside them the MNIST example of {EXAMPLE}, for N epochs")
    add("--seeds", default="1,2,3,4,5,6,7,8,9,10", metavar="S,S,...", help="default: 1 to 10")
    add("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json, or go on with them")
    command = parser.parse_args()
    command.seeds = publish.read_seeds(command.seeds)
    publish.check_recipes(command.recipes)
    return command


def read_recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((publish.RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def run(name: str, epochs: int, seed: int, unpacked: Path) -> dict[str, float]:
    """One process from its start to its end; `unpacked` has the files that torchvision reads."""
    with tempfile.TemporaryDirectory() as folder:
        if name == EXAMPLE:
            figures = Path(folder, "figures.json")
            words = ["-m", "benchmarks.pytorch_example", f"--epochs={epochs}", f"--seed={seed}"]
            words += [f"--root={unpacked}", f"--output={figures}"]
        else:
            figures = Path(folder, "metrics.json")
            words = ["train.py", f"recipe={name}", f"seed={seed}", f"run_dir={folder}"]
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # users keep bytecode: a process starts some seconds sooner
        began = time.perf_counter()
        if publish.run_to_its_end([sys.executable, *words]):
            raise errors.RunFailed(f"{name} did not end well with seed {seed}.")
        seconds = time.perf_counter() - began
        found = json.loads(figures.read_bytes())
    return {"accuracy": found["test"]["accuracy"], "train_seconds": found["train_seconds"], "process_seconds": seconds}


def table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Ratios are to the first contender, each within its own turn."""
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
            taken.append(spread([runs[name][kind] for runs in turns]))
            ratios.append(spread([runs[name][kind] / runs[first][kind] for runs in turns]))
        lines.append((name, str(settings["epochs"]), f"{mean(accuracies):.2f}{sd}", reached, *taken, *ratios))
    return lines


def spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def markdown(results: dict[str, Any]) -> str:
    seeds = ", ".join(str(turn["seed"]) for turn in results["turns"])
    head, *body = table(results)
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *body]
    return (
        f"# Seconds to a test accuracy of {results['level']:g} %\n\n"
        f"{results['machine']}. Seeds {seeds}: mean and standard deviation of the accuracy, the level reached if the "
        "mean does; medians of the seconds, and of the ratios within a turn (least to most).\n\n"
        + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    )


if __name__ == "__main__":
    flags.run(main)
