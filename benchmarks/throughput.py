"""Images per second of training, side by side in one run.

Ways: a bare loop over one fixed batch that is already on the device, with torch's plain AdamW (what the arithmetic
costs); ours, through train.py itself, whose AdamW is fused; the same network fed by torchvision's data sets, its
transforms and a DataLoader (what a user would write instead).

    uv run python -m benchmarks.throughput --models lenet mlp --repetitions 5
"""

import argparse
import csv
import gzip
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch.nn import functional
from torchvision.transforms import v2

import data
import models
import train
from training.classification import parameter_groups
from training.machine import describe_machine

ROOT = Path(__file__).resolve().parents[1]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def plain_training(network: torch.nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Train on the batches with nothing around it: images per second, after the first ten batches."""
    network.to(DEVICE).train()
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=1e-3, weight_decay=0.01)
    images, began = 0, now()
    for step, (inputs, labels) in enumerate(batches):
        if step == 10:
            images, began = 0, now()
        inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
        loss = functional.cross_entropy(network(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images += len(labels)
    return images / (now() - began)


def bare(name: str, args: argparse.Namespace) -> float:
    size = args.image_size
    batch = (
        torch.randn(args.batch_size, 1, size, size, device=DEVICE),
        torch.randint(0, 10, (args.batch_size,), device=DEVICE),
    )
    steps = args.images // args.batch_size
    return plain_training(models.create(name, image_size=size), [batch] * steps)


def ours(name: str, args: argparse.Namespace) -> float:
    """The second epoch of a run."""
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["train.py", f"model={name}", f"data={args.data}", f"image_size={args.image_size}", "epochs=2"]
        sys.argv += [f"batch_size={args.batch_size}", f"data.train_size={args.images}", "data.val_size=5000"]
        sys.argv += ["optimizer.lr=1e-3", f"run_dir={folder}"]
        if train.main() != 0:
            raise SystemExit("train.py failed")
        with (Path(folder) / "metrics.csv").open() as file:
            return float(list(csv.DictReader(file))[-1]["images_per_second"])


def pipeline(workers: int) -> Callable[[str, argparse.Namespace], float]:
    def measure(name: str, args: argparse.Namespace) -> float:
        facts, size = data.DATASETS[args.data], args.image_size
        transform = v2.Compose(
            [
                v2.ToImage(),
                *([v2.Resize((size, size))] if size != data.IMAGE_SIZE else []),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([facts.mean], [facts.std]),
            ]
        )
        vision = getattr(torchvision.datasets, facts.folder)
        dataset = vision(str(args.extracted), train=True, transform=transform)
        subset = torch.utils.data.Subset(dataset, range(args.images))
        loader = torch.utils.data.DataLoader(
            subset, args.batch_size, shuffle=True, num_workers=workers, drop_last=True, pin_memory=DEVICE == "cuda"
        )
        return plain_training(models.create(name, image_size=size), loader)

    return measure


WAYS = {
    "bare loop": bare,
    "train.py": ours,
    "DataLoader": pipeline(0),
    "DataLoader, 2 workers": pipeline(2),
}


def now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(args: argparse.Namespace) -> list[dict]:
    """The ways take turns, so that a slow minute of the machine falls on all of them."""
    results = []
    for name in args.models:
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(args.repetitions):
            for way, run in WAYS.items():
                rates[way].append(run(name, args))
        results.append({"model": name, "images_per_second": rates})
        show(results[-1:], Console(stderr=True))
    return results


def rows(results: list[dict]) -> list[list[str]]:
    """Medians with their spread; a ratio is the median over the turns, each compared within its own turn."""
    table = [["network", "way", "images/s: median (least to most)", "/ bare loop", "/ DataLoader"]]
    for result in results:
        rates = result["images_per_second"]
        for way, measured in rates.items():
            ratios = [
                f"{statistics.median(a / b for a, b in zip(measured, rates[other], strict=True)):.2f}"
                for other in ("bare loop", "DataLoader")
            ]
            spread = f"{statistics.median(measured):,.0f} ({min(measured):,.0f} to {max(measured):,.0f})"
            table.append([result["model"], way, spread, *ratios])
    return table


def show(results: list[dict], console: Console) -> None:
    head, *body = rows(results)
    table = Table(*head)
    for row in body:
        table.add_row(*row)
    console.print(table)


def markdown(results: list[dict], description: str) -> str:
    head, *body = rows(results)
    lines = [head, ["---"] * len(head), *body]
    return f"{description}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["lenet"], choices=models.names())
    parser.add_argument("--data", default="mnist", choices=list(data.DATASETS))
    parser.add_argument("--images", type=int, default=55_000, help="training images of one repetition")
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json")
    args = parser.parse_args()

    description = (
        f"{describe_machine()}. Batch {args.batch_size}, {args.image_size} x {args.image_size}, {args.data}, "
        f"{args.images} images a turn, {args.repetitions} turns."
    )
    with tempfile.TemporaryDirectory() as extracted:
        args.extracted = Path(extracted)
        for packed in data.ARCHIVES.glob("*/raw/*.gz"):
            target = args.extracted / packed.relative_to(data.ARCHIVES).with_suffix("")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.decompress(packed.read_bytes()))
        results = measure(args)
    show(results, Console())
    print(description)
    if args.save:
        file = ROOT / "benchmarks" / "results" / args.save
        file.with_suffix(".md").write_text(markdown(results, description))
        file.with_suffix(".json").write_text(json.dumps({"machine": description, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
