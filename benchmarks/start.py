"""Measure the start-up of commands: seconds to the first line and to the end of the process, and the time of imports.

uv run python -m benchmarks.start --output benchmarks/results/start.md
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from models import cards
from reports import tables
from training.machine import describe_machine

from .time_to_accuracy import median_and_range

ROOT = Path(__file__).resolve().parents[1]
PICTURE = "samples/digits/5_aileron.png"
LIBRARIES = ["-c", "import torch, lightning; print()"]
FIRST_BATCH = ["train.py", "+callbacks.first._target_=benchmarks.first_batch.FirstBatch"]  # of LeNet
PACKAGES = ("torch", "torch._dynamo", "lightning", "torchvision", "hydra", "pydantic")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def commands() -> list[list[str]]:
    """Return the arguments of Python for each; `import torch` is the least that a command with a network takes."""
    published = [name for name in cards.published() if name.endswith("-mnist")]
    return [
        ["-c", "import torch; print()"],
        LIBRARIES,
        FIRST_BATCH,
        ["train.py", "--help"],
        ["train.py", "epohcs=3"],
        ["evaluate.py", "--list"],
        *(["evaluate.py", "--weights", name, "--quick"] for name in published),
        ["predict.py", "--weights", "lenet-mnist", PICTURE],
    ]


def seconds(command: list[str]) -> tuple[float, float]:
    """Run a command and return the seconds to its first line, on either stream, and to its end."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        process.stdout.readline()
        first = time.perf_counter() - began
        process.stdout.read()
    return first, time.perf_counter() - began


def import_seconds(command: list[str]) -> dict[str, float]:
    """Run a command with `-X importtime`; return the seconds of "all" imports and of PACKAGES, each with its own."""
    timed = [sys.executable, "-X", "importtime", *command]
    report = subprocess.run(timed, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True).stderr
    found = {"all": 0.0}
    for line in report.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            total, _, module = rest.partition("|")
            found["all"] += int(own) / 1e6
            if module.strip() in PACKAGES:
                found[module.strip()] = int(total) / 1e6
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the tables to this Markdown file too")
    arguments = parser.parse_args()

    measured: dict[str, list[tuple[float, float]]] = {}
    for turn in range(arguments.repetitions + 1):
        for command in commands():
            taken = seconds(command)
            if turn:  # the first one writes bytecode and fills the page cache
                measured.setdefault(" ".join(command), []).append(taken)
    starts = (
        [f"`{command}`", *(median_and_range(list(column)) for column in zip(*taken, strict=True))]
        for command, taken in measured.items()
    )
    turns = zip(measured[" ".join(FIRST_BATCH)], measured[" ".join(LIBRARIES)], strict=True)
    share = median_and_range([end / line for (_, end), (line, _) in turns])  # neither takes its process apart
    columns, imports = ("all", *PACKAGES), []
    for command in commands():
        found = import_seconds(command)
        imports.append([f"`{' '.join(command)}`", *(f"{found[name]:.2f}" if name in found else "" for name in columns)])
    report = f"""# How long commands take

{describe_machine()}. Seconds as whole processes, median (least to most) of {arguments.repetitions} turns.

{tables.markdown(["`python` ...", "to the first line", "in all"], *starts)}
Until its first batch, train.py takes {share} of the time of `import torch, lightning`, compared within each turn.

Seconds of importing, by `-X importtime`: a package with all that it imports, where it is imported.

{tables.markdown(["`python -X importtime` ...", "all", *(f"`{name}`" for name in PACKAGES)], *imports)}"""
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
