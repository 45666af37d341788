"""What an image costs in training as batches and images grow: a bare step on one fixed batch.

    uv run python -m benchmarks.growth --save growth

A batch size whose step would take over --seconds, by the one before it, is left out. Images of 28 x 28 have the native
geometry, larger ones the textbook one, which is another network: its cost grows with the pixels.
"""

import argparse
import json
import statistics
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import models
from models.description import describe
from models.image_size import NATIVE, SMALLEST_TEXTBOOK
from training.machine import describe_machine

from .throughput import RESULTS, WARM_UP, fixed_batch, plain_training

BATCH_SIZES = [2**power for power in range(5, 13)]
IMAGE_SIZES = [NATIVE, 96, 128, 160, 192, 224]
TEXTBOOK = [name for name, path in models.NETWORKS.items() if path.partition(".")[2] in SMALLEST_TEXTBOOK]
Costs = dict[str, dict[int, list[float]]]  # network -> batch or image size -> milliseconds an image, of each turn


def cost(name: str, batch_size: int, image_size: int, steps: int = 2) -> float:
    """Milliseconds an image."""
    network = models.create(name, image_size=image_size)
    return 1e3 / plain_training(network, [fixed_batch(batch_size, image_size)] * (WARM_UP + steps))


def by_batch_size(name: str, args: argparse.Namespace) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for size in BATCH_SIZES:
        if found and size * statistics.median(found[size // 2]) > 1e3 * args.seconds:
            break
        steps = max(2, 1024 // size)  # a step of the small networks is short
        found[size] = [cost(name, size, NATIVE, steps) for _ in range(args.repetitions)]
        print(f"{name}, batches of {size}: {statistics.median(found[size]):.4g} ms an image", flush=True)
    return found


def by_image_size(name: str, args: argparse.Namespace) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for size in IMAGE_SIZES:
        found[size] = [cost(name, args.batch_size, size) for _ in range(args.repetitions)]
        print(f"{name}, {size} x {size}: {statistics.median(found[size]):.4g} ms an image", flush=True)
    return found


def draw(batches: Costs, images: Costs, args: argparse.Namespace, file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    colours = {name: f"C{i % 10}" for i, name in enumerate(models.names())}
    for axes, costs in ((left, batches), (right, images)):
        for name, found in costs.items():
            medians = [statistics.median(each) for each in found.values()]
            ends = [[min(each) for each in found.values()], [max(each) for each in found.values()]]
            line = "-o" if axes is left else "o"
            axes.plot(list(found), medians, line, color=colours[name], label=name, markersize=4)
            axes.vlines(list(found), *ends, color=colours[name])
    for name, found in images.items():
        textbook = {size: statistics.median(each) for size, each in found.items() if size != NATIVE}
        right.plot(list(textbook), list(textbook.values()), "-", color=colours[name])
        largest = max(textbook)
        along = [textbook[largest] * (size / largest) ** 2 for size in textbook]
        right.plot(list(textbook), along, ":", color=colours[name])
    left.set(xscale="log", yscale="log", xlabel="batch size", ylabel="milliseconds an image", title="28 x 28")
    right.set(xscale="log", xlabel="image size", title=f"batches of {args.batch_size}; dotted: as the pixels grow")
    for axes, sizes in ((left, BATCH_SIZES), (right, IMAGE_SIZES)):
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.legend(fontsize="small", ncols=2)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def markdown(batches: Costs, images: Costs, args: argparse.Namespace, description: str) -> str:
    lines = [description, "", f"![Milliseconds an image against batch size and image size]({args.save}.png)", ""]
    for costs, sizes, what in ((batches, BATCH_SIZES, "batch size"), (images, IMAGE_SIZES, "image size")):
        lines += [f"Milliseconds an image, by {what}:", "", f"| | {' | '.join(map(str, sizes))} |"]
        lines.append(f"| --- |{' ---: |' * len(sizes)}")
        for name, found in costs.items():
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=models.names(), choices=models.names())
    parser.add_argument("--batch-size", type=int, default=16, help="of the images that grow")
    parser.add_argument("--seconds", type=float, default=10, help="a step may take, by batch size")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--save", metavar="NAME", required=True, help="write benchmarks/results/NAME.png, .md and .json"
    )
    args = parser.parse_args()

    torch.manual_seed(0)
    description = f"{describe_machine()}. Medians of {args.repetitions} turns."
    batches: Costs = {}
    images: Costs = {}
    for name in args.models:
        batches[name] = by_batch_size(name, args)
        if name in TEXTBOOK:
            images[name] = by_image_size(name, args)
        save(batches, images, args, description)


def save(batches: Costs, images: Costs, args: argparse.Namespace, description: str) -> None:
    """What was measured up to now."""
    file = RESULTS / args.save
    draw(batches, images, args, file.with_suffix(".png"))
    file.with_suffix(".md").write_text(markdown(batches, images, args, description))
    costs = {"machine": description, "by_batch_size": batches, "by_image_size": images}
    file.with_suffix(".json").write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
