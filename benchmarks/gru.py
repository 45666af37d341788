"""Compare a training step of the GRU with its equations written out and of torch.nn.GRU (`reset_after`), in turn.

    uv run python -m benchmarks.gru [--output benchmarks/results/gru_<machine>.md]

A step is forward, cross entropy and backward over one batch that is already on the device.
"""

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import models
from reports import markdown
from training.machine import describe_machine

from .throughput import median_and_quartiles

WARM_UP = 5  # steps


def milliseconds(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.zero_grad()
    start = time.perf_counter()
    cross_entropy(network(images), labels).backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def row(device: str, batch_size: int, repetitions: int) -> list[str]:
    """Return medians and quartiles of both forms, and of the ratio of neighbouring steps."""
    torch.manual_seed(0)
    networks = [models.create("gru", reset_after=reset_after).to(device) for reset_after in (False, True)]
    images = torch.randn(batch_size, 1, 28, 28, device=device)
    labels = torch.randint(10, (batch_size,), device=device)
    steps = [[milliseconds(network, images, labels) for network in networks] for _ in range(WARM_UP + repetitions)]
    columns = zip(*((ours, theirs, ours / theirs) for ours, theirs in steps[WARM_UP:]), strict=True)
    return [device, *(median_and_quartiles(list(column), ".2f") for column in columns)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--output", type=Path, help="write the table to this Markdown file too")
    arguments = parser.parse_args()

    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows = [row(device, arguments.batch_size, arguments.repetitions) for device in devices]
    report = f"""# A training step of the GRU: the equations written out against torch.nn.GRU

{describe_machine()}. Hidden size 128, one layer, float32, batch of {arguments.batch_size}; the two take turns,
{arguments.repetitions} steps each: median (quartiles).

{markdown.table(["device", "written out, ms", "torch.nn.GRU, ms", "ratio"], *rows)}"""
    print(report)
    if arguments.output:
        arguments.output.write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
