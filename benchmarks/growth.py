"""Measure the training time per image as batches and images grow: a plain step on one fixed batch.

    uv run python -m benchmarks.growth --save growth

A batch size is left out if its step would take over --seconds, estimated from the size before. Images of 28 x 28 get
the small-image stem, larger ones the ImageNet stem, which is another network: its cost grows with the pixels.
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
from reports import tables
from training.machine import describe_machine

from . import saved
from .throughput import WARM_UP, fixed_batch, now, plain_training

BATCH_SIZES = [2**power for power in range(5, 13)]
IMAGE_SIZES = [SMALL_IMAGE_SIZE, 96, 128, 160, 192, 224]
WITH_IMAGENET_STEM = [name for name in models.names() if models.defaults(name)["image_size"] != SMALL_IMAGE_SIZE]
Costs = dict[str, dict[int, list[float]]]  # ... -> batch or image size -> milliseconds per image of each turn


def cost(name: str, batch_size: int, image_size: int, steps: int = 2) -> float:
    """Measure the milliseconds per image of a training step."""
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


def measure(name: str, batch_size: int, image_size: int, turns: int) -> list[float]:
    """Measure the milliseconds per image in each turn."""
    steps = max(2, 1024 // batch_size) if image_size == SMALL_IMAGE_SIZE else 2  # small batches take short steps
    found = [cost(name, batch_size, image_size, steps) for _ in range(turns)]
    median = statistics.median(found)
    print(f"{name}, batches of {batch_size}, {image_size} x {image_size}: {median:.4g} ms per image", flush=True)
    return found


def measure_network(name: str, args: argparse.Namespace) -> Costs:
    """Measure a network at 28 x 28 by batch size and, if it can read larger images, by image size."""
    batches: dict[int, list[float]] = {}
    for size in BATCH_SIZES:
        if batches and size * statistics.median(batches[size // 2]) > 1e3 * args.seconds:
            break
        batches[size] = measure(name, size, SMALL_IMAGE_SIZE, args.turns)
    if name not in WITH_IMAGENET_STEM:
        return {"by_batch_size": batches}
    images = {size: measure(name, args.batch_size, size, args.turns) for size in IMAGE_SIZES}
    return {"by_batch_size": batches, "by_image_size": images}


def costs(results: dict[str, Any], kind: str) -> Costs:
    """Return what was measured `by_batch_size` or `by_image_size`, by network; sizes in JSON are text."""
    networks = results["networks"].items()
    return {name: {int(size): turns for size, turns in one[kind].items()} for name, one in networks if kind in one}


def draw(results: dict[str, Any], file: Path) -> None:
    """Plot the medians, with a line from the fastest to the slowest turn."""
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
    left.set(xscale="log", yscale="log", xlabel="batch size", ylabel="milliseconds per image", title="28 x 28")
    title = f"batches of {results['batch_size']}; dotted: in proportion to the pixels"
    right.set(xscale="log", xlabel="image size", title=title)
    for axes, sizes in ((left, BATCH_SIZES), (right, IMAGE_SIZES)):
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(fontsize="small", ncols=2)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def page(results: dict[str, Any], name: str) -> str:
    """Return the results as a Markdown page, which shows the figure NAME.png."""
    batches, images = costs(results, "by_batch_size"), costs(results, "by_image_size")
    return f"""# Training time per image

{results["machine"]}. Medians of {results["turns"]} turns. Batches whose step would take over {results["seconds"]:g} s
were left out.

![Milliseconds per image against batch size and image size]({name}.png)

Milliseconds per image, by batch size:

{table(batches, BATCH_SIZES)}
Milliseconds per image, by image size:

{table(images, IMAGE_SIZES)}
Nanoseconds per multiply-add of the forward pass, by image size:

{table(per_multiply_add(images), IMAGE_SIZES, ".3f")}"""


def table(networks: Costs, sizes: list[int], form: str = ".3g") -> str:
    """Return medians as a table with a row per network and a column per size."""
    rows = (
        [name, *(f"{statistics.median(found[size]):{form}}" if size in found else "" for size in sizes)]
        for name, found in networks.items()
    )
    return tables.markdown(["", *map(str, sizes)], *rows)


def per_multiply_add(images: Costs) -> Costs:
    """Convert milliseconds per image to nanoseconds per multiply-add of the forward pass."""
    converted: Costs = {}
    for name, found in images.items():
        work = {size: sum(stage.multiply_adds for stage in describe(name, image_size=size)) for size in found}
        converted[name] = {size: [1e6 * each / work[size] for each in turns] for size, turns in found.items()}
    return converted


def main() -> int:
    parser = flags.Flags("python -m benchmarks.growth", __doc__)
    parser.add_argument("--models", nargs="+", default=models.names(), choices=models.names())
    parser.add_argument("--batch-size", type=int, default=16, help="with growing images (default: 16)")
    parser.add_argument("--seconds", type=float, default=10, help="longest step with growing batches (default: 10)")
    parser.add_argument("--turns", type=int, default=3)
    to_save = "write benchmarks/results/NAME.png, .md and .json, or add the networks they lack"
    parser.add_argument("--save", metavar="NAME", required=True, help=to_save)
    args = parser.parse_args()

    torch.manual_seed(0)
    settings = {key: vars(args)[key] for key in ("batch_size", "seconds", "turns")}
    results = {"machine": describe_machine(), **settings, "networks": {}}
    results = saved.load(args.save, results, "machine", *settings)
    for name in args.models:
        if name not in results["networks"]:
            results["networks"][name] = measure_network(name, args)
        draw(results, saved.RESULTS / f"{args.save}.png")
        saved.save(args.save, results, page(results, args.save))
    return 0


if __name__ == "__main__":
    flags.run(main)
