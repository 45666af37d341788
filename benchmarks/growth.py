"""What an image costs in training as batches and images grow: a bare step on one fixed batch.

    uv run python -m benchmarks.growth --save growth

A batch size whose step would take over --seconds, by the one before it, is left out. Networks have the
small-image stem at 28 x 28 and the ImageNet stem above, which makes another network: its cost grows with the pixels.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

import models
from launch import flags
from models.checks import SMALL_IMAGE_SIZE
from models.description import describe
from training.machine import describe_machine

from . import saved
from .throughput import WARM_UP, fixed_batch, now, plain_training

BATCH_SIZES = [2**power for power in range(5, 13)]
IMAGE_SIZES = [SMALL_IMAGE_SIZE, 96, 128, 160, 192, 224]
WITH_IMAGENET_STEM = [name for name in models.names() if models.defaults(name)["image_size"] != SMALL_IMAGE_SIZE]
Costs = dict[str, dict[int, list[float]]]  # network -> batch or image size -> milliseconds an image, of each turn


def cost(name: str, batch_size: int, image_size: int, steps: int = 2) -> float:
    """Milliseconds an image."""
    began = 0.0

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal began
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                began = now()
            yield batch

    batch = fixed_batch(batch_size, image_size)
    plain_training(models.create(name, image_size=image_size), batches())
    return 1e3 * (now() - began) / (steps * batch_size)


def by_batch_size(name: str, args: argparse.Namespace) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for size in BATCH_SIZES:
        if found and size * statistics.median(found[size // 2]) > 1e3 * args.seconds:
            break
        steps = max(2, 1024 // size)  # a step of the small networks is short
        found[size] = [cost(name, size, SMALL_IMAGE_SIZE, steps) for _ in range(args.turns)]
        print(f"{name}, batches of {size}: {statistics.median(found[size]):.4g} ms an image", flush=True)
    return found


def by_image_size(name: str, args: argparse.Namespace) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for size in IMAGE_SIZES:
        found[size] = [cost(name, args.batch_size, size) for _ in range(args.turns)]
        print(f"{name}, {size} x {size}: {statistics.median(found[size]):.4g} ms an image", flush=True)
    return found


def costs(results: dict[str, Any], kind: str) -> Costs:
    networks = results["networks"].items()
    return {name: {int(size): turns for size, turns in one[kind].items()} for name, one in networks if kind in one}


def draw(results: dict[str, Any], file: Path) -> None:
    batches, images = costs(results, "by_batch_size"), costs(results, "by_image_size")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    styles = {name: {"color": f"C{i % 10}", "marker": "os"[i // 10]} for i, name in enumerate(models.names())}
    for axes, networks in ((left, batches), (right, images)):
        for name, found in networks.items():
            medians = [statistics.median(each) for each in found.values()]
            ends = [[min(each) for each in found.values()], [max(each) for each in found.values()]]
            line = "-" if axes is left else ""
            axes.plot(list(found), medians, linestyle=line, label=name, markersize=4, **styles[name])
            axes.vlines(list(found), *ends, color=styles[name]["color"])
    for name, found in images.items():
        imagenet_stem = {size: statistics.median(each) for size, each in found.items() if size != SMALL_IMAGE_SIZE}
        right.plot(list(imagenet_stem), list(imagenet_stem.values()), "-", color=styles[name]["color"])
        largest = max(imagenet_stem)
        along = [imagenet_stem[largest] * (size / largest) ** 2 for size in imagenet_stem]
        right.plot(list(imagenet_stem), along, ":", color=styles[name]["color"])
    left.set(xscale="log", yscale="log", xlabel="batch size", ylabel="milliseconds an image", title="28 x 28")
    right.set(
        xscale="log", xlabel="image size", title=f"batches of {results['batch_size']}; dotted: as the pixels grow"
    )
    for axes, sizes in ((left, BATCH_SIZES), (right, IMAGE_SIZES)):
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(fontsize="small", ncols=2)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def markdown(results: dict[str, Any], name: str) -> str:
    batches, images = costs(results, "by_batch_size"), costs(results, "by_image_size")
    left_out = f"Batches whose step would take over {results['seconds']:g} s were left out."
    lines = ["# What an image costs in training", ""]
    lines += [f"{results['machine']}. Medians of {results['turns']} turns. {left_out}", ""]
    lines += [f"![Milliseconds an image against batch size and image size]({name}.png)", ""]
    for networks, sizes, what in ((batches, BATCH_SIZES, "batch size"), (images, IMAGE_SIZES, "image size")):
        lines += [f"Milliseconds an image, by {what}:", "", f"| | {' | '.join(map(str, sizes))} |"]
        lines.append(f"| --- |{' ---: |' * len(sizes)}")
        for name, found in networks.items():
            cells = [f"{statistics.median(found[size]):.3g}" if size in found else "" for size in sizes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["Nanoseconds a multiply-add of the forward pass, by image size:", ""]
    lines += [f"| | {' | '.join(map(str, IMAGE_SIZES))} |", f"| --- |{' ---: |' * len(IMAGE_SIZES)}"]
    for name, found in images.items():
        work = {size: sum(stage.multiply_adds for stage in describe(name, image_size=size)) for size in found}
        cells = [f"{1e6 * statistics.median(each) / work[size]:.3f}" for size, each in found.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = flags.Flags(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=models.names(), choices=models.names())
    parser.add_argument("--batch-size", type=int, default=16, help="of the images that grow")
    parser.add_argument("--seconds", type=float, default=10, help="a step may take, by batch size")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--save",
        metavar="NAME",
        required=True,
        help="write benchmarks/results/NAME.png, .md and .json, or add the networks they still lack",
    )
    args = parser.parse_args()

    torch.manual_seed(0)
    settings = {key: vars(args)[key] for key in ("batch_size", "seconds", "turns")}
    results = {"machine": describe_machine(), **settings, "networks": {}}
    results = saved.go_on(args.save, results, "machine", *settings)
    for name in args.models:
        if name not in results["networks"]:
            results["networks"][name] = {"by_batch_size": by_batch_size(name, args)}
            if name in WITH_IMAGENET_STEM:
                results["networks"][name]["by_image_size"] = by_image_size(name, args)
        draw(results, saved.RESULTS / f"{args.save}.png")
        saved.save(args.save, results, markdown(results, args.save))
    return 0


if __name__ == "__main__":
    flags.run(main)
