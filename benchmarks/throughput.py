"""Images per second of training, side by side in one run.

Ways: a bare loop over one fixed batch that is already on the device (what the arithmetic costs); Lightning's barest
loop over the same (the least that a Lightning loop can cost); ours, through train.py itself; the bare loop fed by
torchvision's data sets, its transforms and a DataLoader (what a user would write instead).
All of them compute the same: channels last, fused AdamW, on CUDA what `precision=auto` says; and all keep the memory of
freed tensors, as train.py does. With --compile the bare loop and train.py take turns compiled, too; what the compiler
takes is not in the figures.

    uv run python -m benchmarks.throughput --models lenet mlp --turns 5
"""

import argparse
import csv
import itertools
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

import data
import models
import train
from benchmarks import saved
from benchmarks.pytorch_example import unpack
from training import flags
from training.classification import parameter_groups
from training.machine import choose_accelerator, choose_precision, describe_machine

DEVICE = choose_accelerator("auto")
WARM_UP, FEWEST = 3, 6  # batches: before the clock starts, and that are timed
Way = Callable[[str, int, argparse.Namespace], float]  # network, batches to time, arguments -> images per second


def plain_training(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], compiled: bool = False) -> float:
    """Train on the batches with nothing around it: images per second, after the first WARM_UP batches."""
    network.to(DEVICE).to(memory_format=torch.channels_last).train()
    mixed = torch.autocast(DEVICE, torch.bfloat16, enabled=choose_precision("auto", DEVICE, network) == "bf16-mixed")
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=1e-3, weight_decay=0.01, fused=True)
    forward = torch.compile(network.forward, dynamic=False) if compiled else network.forward
    images, began = 0, now()
    for step, (inputs, labels) in enumerate(batches):
        if step == WARM_UP:
            images, began = 0, now()
        inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
        with mixed:
            loss = functional.cross_entropy(forward(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        images += len(labels)
    return images / (now() - began)


def fixed_batch(batch_size: int, image_size: int) -> tuple[Tensor, Tensor]:
    shape = (batch_size, 1, image_size, image_size)
    return torch.randn(shape, device=DEVICE), torch.randint(0, 10, (batch_size,), device=DEVICE)


def bare(compiled: bool) -> Way:
    def measure(name: str, steps: int, args: argparse.Namespace) -> float:
        batch = fixed_batch(args.batch_size, args.image_size)
        network = models.create(name, image_size=args.image_size)
        return plain_training(network, [batch] * (WARM_UP + steps), compiled)

    return measure


class Bare(lightning.LightningModule):
    """The bare loop's step."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == WARM_UP:
            self.began = now()
        images, labels = batch
        return functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameter_groups(self.network), lr=1e-3, weight_decay=0.01, fused=True)


def lightning_alone(name: str, steps: int, args: argparse.Namespace) -> float:
    network = models.create(name, image_size=args.image_size)
    precision: Any = choose_precision("auto", DEVICE, network)
    trainer = lightning.Trainer(barebones=True, accelerator=DEVICE, devices=1, precision=precision, max_epochs=1)
    module, batch = Bare(network), fixed_batch(args.batch_size, args.image_size)
    with warnings.catch_warnings(action="ignore"):  # Lightning's, of itself
        trainer.fit(module, itertools.repeat(batch, WARM_UP + steps))
    return steps * args.batch_size / (now() - module.began)


def ours(compiled: bool) -> Way:
    def measure(name: str, steps: int, args: argparse.Namespace) -> float:
        """The second epoch of a run."""
        with tempfile.TemporaryDirectory() as folder:
            sys.argv = ["train.py", f"model={name}", f"data={args.data}", f"image_size={args.image_size}", "epochs=2"]
            sys.argv += [f"batch_size={args.batch_size}", f"data.train_size={steps * args.batch_size}"]
            sys.argv += ["data.val_size=100", "data.test_size=100", "optimizer.lr=1e-3", "report=false"]
            sys.argv += [f"compile={str(compiled).lower()}", f"run_dir={folder}"]
            if train.main() != 0:
                raise SystemExit("train.py failed")
            with (Path(folder) / "metrics.csv").open() as file:
                return float(list(csv.DictReader(file))[-1]["images_per_second"])

    return measure


def pipeline(workers: int) -> Way:
    def measure(name: str, steps: int, args: argparse.Namespace) -> float:
        facts, size = data.DATASETS[args.data], args.image_size
        resize = [transforms.Resize((size, size))] if size != data.IMAGE_SIZE else []
        normalize = transforms.Normalize([facts.mean], [facts.std])
        transform = transforms.Compose([*resize, transforms.ToTensor(), normalize])  # v2's take half as long again
        vision = getattr(torchvision.datasets, facts.folder)
        dataset = vision(str(args.extracted), train=True, transform=transform)
        subset = torch.utils.data.Subset(dataset, range((WARM_UP + steps) * args.batch_size))
        loader = torch.utils.data.DataLoader(
            subset, args.batch_size, shuffle=True, num_workers=workers, drop_last=True, pin_memory=DEVICE == "cuda"
        )
        return plain_training(models.create(name, image_size=size), loader)

    return measure


WAYS = {
    "bare loop": bare(compiled=False),
    "Lightning alone": lightning_alone,
    "train.py": ours(compiled=False),
    "DataLoader": pipeline(0),
    "DataLoader, 2 workers": pipeline(2),
}
COMPILED = {"bare loop, compiled": bare(compiled=True), "train.py, compiled": ours(compiled=True)}


def now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def go(way: str, name: str, batches: int, args: argparse.Namespace) -> float:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return (WAYS | COMPILED)[way](name, batches, args)


def go_alone(*how: Any) -> float:
    """In a process of its own: where others went before, large networks are a tenth slower, their memory in pieces."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(go, *how).result()


def measure(name: str, batches: int, args: argparse.Namespace) -> dict[str, float]:
    """One turn. The ways follow each other, so that a slow minute of the machine falls on all of them."""
    ways = [*WAYS, *(COMPILED if args.compile else ())]
    return {way: go_alone(way, name, batches, args) for way in ways}


def choose_batches(name: str, args: argparse.Namespace) -> int:
    most = min(data.TRAIN_IMAGES // args.batch_size - WARM_UP, 55_000 // args.batch_size)
    batches = int(args.seconds * go_alone("bare loop", name, FEWEST, args) / args.batch_size)
    return min(max(batches, FEWEST), most)


def rows(networks: dict[str, Any], batch_size: int) -> list[list[str]]:
    """Medians with their spread; a ratio is the median over the turns, each compared within its own turn."""
    table = [["network", "way", "images/s: median (least to most)", "ms a step", "/ bare loop", "/ DataLoader"]]
    for name, measured in networks.items():
        turns = measured["turns"]
        for way in turns[0]:
            rates = [turn[way] for turn in turns]
            others = ["bare loop, compiled"] if way in COMPILED else ["bare loop", "DataLoader"]
            ratios = [f"{statistics.median(turn[way] / turn[other] for turn in turns):.2f}" for other in others]
            spread = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"
            step = f"{1e3 * batch_size / statistics.median(rates):.4g}"
            table.append([name, way, spread, step, *ratios, *[""] * (2 - len(ratios))])
    return table


def show(networks: dict[str, Any], batch_size: int, console: Console) -> None:
    head, *body = rows(networks, batch_size)
    table = Table(*head)
    for row in body:
        table.add_row(*row)
    console.print(table)


def markdown(results: dict[str, Any]) -> str:
    head, *body = rows(results["networks"], results["batch_size"])
    turns = sorted({len(measured["turns"]) for measured in results["networks"].values()})
    lines = [head, ["---"] * len(head), *body]
    return (
        f"{results['machine']}. Batch {results['batch_size']}, {results['image_size']} x {results['image_size']}, "
        f"{results['data']}, {' or '.join(map(str, turns))} turns.\n\n"
        + "".join(f"| {' | '.join(line)} |\n" for line in lines)
    )


def main() -> int:
    parser = flags.Flags(
        prog="python -m benchmarks.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=models.names(), choices=models.names())
    parser.add_argument("--data", default="mnist", choices=list(data.DATASETS))
    parser.add_argument("--seconds", type=float, default=10, help="of one turn of the bare loop, at most an epoch")
    parser.add_argument("--compile", action="store_true", help="the bare loop and train.py compiled, too")
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json, or add the turns they still lack"
    )
    args = parser.parse_args()
    if args.batch_size * (WARM_UP + FEWEST) > data.TRAIN_IMAGES:
        parser.error(f"--batch-size {args.batch_size}: {WARM_UP + FEWEST} batches have to fit into an epoch")

    settings = {key: vars(args)[key] for key in ("batch_size", "image_size", "data", "compile")}
    results = saved.go_on(args.save, {"machine": describe_machine(), **settings, "networks": {}}, "machine", *settings)
    networks = results["networks"]
    with tempfile.TemporaryDirectory() as extracted:
        args.extracted = Path(extracted)
        unpack(args.extracted)
        for turn in range(args.turns):
            for name in args.models:
                if name not in networks:
                    networks[name] = {"batches": choose_batches(name, args), "turns": []}
                network = networks[name]
                if len(network["turns"]) > turn:
                    continue
                network["turns"].append(measure(name, network["batches"], args))
                show({name: network}, args.batch_size, Console(stderr=True))
                if args.save:
                    saved.save(args.save, results, markdown(results))
    show(networks, args.batch_size, Console())
    print(results["machine"])
    return 0


if __name__ == "__main__":
    flags.run(main)
