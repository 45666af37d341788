"""Measure training beside other processes: with a thread per core, and with as many as train.py chooses.

Every measurement is a process of its own that starts when the others are busy, as a user's command does: it imports
torch, decides on its threads, and trains for some seconds on one batch in a plain loop. The ways and the surroundings
take turns. "one busy" is one process that computes for every two cores, "two busy" twice as many, and "two trainings"
start together.

    uv run python -m benchmarks.contention --models lenet gru --rounds 3
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import models
from launch import threads
from launch.imports import import_lightning
from reports import tables

SPAWN = get_context("spawn")
WAYS = ("a thread per core", "threads=auto")
# The numbers of processes that are busy, for every two cores, and of those that train.
SURROUNDINGS = {"idle": (0, 1), "one busy": (1, 1), "two busy": (2, 1), "two trainings": (0, 2)}
SMALL = ("softmax_regression", "mlp", "lenet", "rnn", "gru", "lstm")
BATCH, BATCH_OF_LARGE, WARM_UP = 128, 32, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=models.names(), metavar="NETWORK")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of training, for each measurement")
    parser.add_argument("--output", type=Path, help="write the table to this Markdown file too")
    arguments = parser.parse_args()
    rows, machine = [], ""
    for name in arguments.models:
        rates: dict[tuple[str, str], list[float]] = {}
        for _ in range(arguments.rounds):
            for surroundings, (busy, trainings) in SURROUNDINGS.items():
                for way in WAYS:
                    found, machine = measure(name, way, busy, trainings, arguments.seconds)
                    rates.setdefault((way, surroundings), []).append(found)
        idle = statistics.median(rates[WAYS[0], "idle"])
        for way in WAYS:
            shares = [[rate / idle for rate in rates[way, each]] for each in SURROUNDINGS]
            cells = [f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})" for each in shares]
            rows.append([name, way, f"{idle:,.0f}", *cells])
        print(*rows[-2:], sep="\n", flush=True)
    head = ["network", "threads", "images/s", *SURROUNDINGS]
    report = f"""# Training beside other processes

{machine}, {threads.cores()} cores. A plain training loop: images per second with a thread per core on the idle machine,
and the speed as a share of it, median (least to most) of {arguments.rounds} rounds; of two trainings, their mean.

{tables.markdown(head, *rows)}"""
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


def measure(name: str, way: str, busy: int, trainings: int, seconds: float) -> tuple[float, str]:
    """Return the mean images per second of the trainings, and a description of the machine."""
    if way == WAYS[0]:
        os.environ[threads.THREADS] = str(threads.cores())
    else:
        os.environ.pop(threads.THREADS, None)
    with busy_processes(busy * threads.cores() // 2):
        pipes = [SPAWN.Pipe() for _ in range(trainings)]
        started = [SPAWN.Process(target=train, args=(name, seconds, theirs)) for _, theirs in pipes]
        for process in started:
            process.start()
        found = [ours.recv() for ours, _ in pipes]
        for process in started:
            process.join()
    return statistics.mean(rate for rate, _ in found), found[0][1]


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    started = [SPAWN.Process(target=compute, daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    time.sleep(1 if count else 0)
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.join()


def compute() -> None:
    while True:
        pass


def train(name: str, seconds: float, results: Connection) -> None:
    """Train a network in a plain loop and send the images per second."""
    import_lightning()  # which training.module imports
    import torch
    from torch.nn import functional

    from training.machine import choose_accelerator, choose_precision, describe_machine
    from training.module import parameter_groups

    choose_accelerator("cpu")
    batch_size = BATCH if name in SMALL else BATCH_OF_LARGE
    images, labels = torch.randn(batch_size, 1, 28, 28), torch.randint(0, 10, (batch_size,))
    network = models.create(name, image_size=28).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=1e-3, weight_decay=0.01, fused=True)
    mixed = torch.autocast("cpu", torch.bfloat16, enabled=choose_precision("auto", "cpu", network) == "bf16-mixed")
    steps, began = -WARM_UP, 0.0
    while steps <= 0 or time.perf_counter() - began < seconds:
        if steps == 0:
            began = time.perf_counter()
        with mixed:
            loss = functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
    results.send((steps * batch_size / (time.perf_counter() - began), describe_machine("cpu").partition(", ")[0]))


if __name__ == "__main__":
    main()
