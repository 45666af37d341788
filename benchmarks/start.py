"""How long commands take to their first line and in all, as whole processes that take turns, and what they import.

uv run python -m benchmarks.start --output benchmarks/results/start.md
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from models import cards
from training.machine import describe_machine

ROOT = Path(__file__).resolve().parents[1]
PICTURE = "samples/digits/5_aileron.png"
PACKAGES = ("torch", "torch._dynamo", "lightning", "torchvision", "hydra", "pydantic")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def commands() -> list[list[str]]:
    """`import torch` is what everything that uses a network must wait for."""
    published = [name for name in cards.published() if name.endswith("-mnist")]
    return [
        ["-c", "import torch; print()"],
        ["train.py", "--help"],
        ["train.py", "epohcs=3"],
        ["evaluate.py", "--list"],
        *(["evaluate.py", "--weights", name, "--quick"] for name in published),
        ["predict.py", "--weights", "lenet-mnist", PICTURE],
    ]


def seconds(command: list[str]) -> tuple[float, float]:
    """To the first line of either stream, and to the end."""
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
    """What `-X importtime` says of "all" modules together, and of those of PACKAGES that are imported, with theirs."""
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
            if turn:  # the first one compiles to bytecode, and reads files into the system's memory
                measured.setdefault(" ".join(command), []).append(taken)
    lines = [
        "# How long commands take",
        "",
        f"{describe_machine()}. Seconds as whole processes, median (least to most) of {arguments.repetitions} turns.",
        "",
        "| `python` ... | to the first line | in all |",
        "| --- | ---: | ---: |",
    ]
    for command, taken in measured.items():
        cells = (f"{statistics.median(t):.2f} ({min(t):.2f} to {max(t):.2f})" for t in zip(*taken, strict=True))
        lines.append(f"| `{command}` | {' | '.join(cells)} |")
    columns = ("all", *PACKAGES)
    lines += [
        "",
        "Seconds of importing, by `-X importtime`: a package with all that it imports, where it is imported.",
        "",
        f"| `python -X importtime` ... | {' | '.join(f'`{name}`' if name != 'all' else name for name in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for command in commands():
        found = import_seconds(command)
        cells = (f"{found[name]:.2f}" if name in found else "" for name in columns)
        lines.append(f"| `{' '.join(command)}` | {' | '.join(cells)} |")
    report = "\n".join([*lines, ""])
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
