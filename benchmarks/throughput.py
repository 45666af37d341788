"""Measure training images per second of four ways of training, side by side. POSIX only (SIGSTOP).

- bare loop: one fixed batch that is already on the device: the cost of the arithmetic
- Lightning alone: Lightning's `barebones` trainer on the same batch: the cost of its step
- train.py: ours, the whole program
- DataLoader: the bare loop fed by torchvision's data set and transforms: what a user would write instead

All of them use channels last, fused AdamW and the precision of `precision=auto`, and keep the memory of freed tensors,
as train.py does. --settings adds the bare loop and train.py with another setting, such as compile=true, and says what
that gains, and after how many epochs a later start has paid.

Each way is a process that is stopped while the others train: in every round each of them trains for some batches, so
that a slow moment of the machine affects all alike. Ratios are taken within a round.

    uv run python -m benchmarks.throughput --models lenet mlp --turns 5
"""

import argparse
import contextlib
import logging
import math
import os
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import lightning
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision import transforms

import data
import models
import train
from data.batches import TrainingBatches
from launch import errors, flags
from reports import tables
from training.machine import choose_accelerator, choose_precision, describe_machine
from training.module import parameter_groups

from . import saved
from .pytorch_example import unpack

DEVICE = choose_accelerator("auto")
WARM_UP, ROUNDS = 3, 12  # batches before the first round; rounds of a turn, all within one epoch
EPOCH = 55_000  # training images of an epoch of train.py
Batches = Iterable[tuple[Tensor, Tensor]]
Pacing = Callable[[Batches], Batches]
Rates = dict[str, float]  # way -> images per second
Starts = dict[str, float]  # way -> seconds until its first round


class Pace:
    """Yield batches in rounds of `batches`; before each, send the seconds of the last one and wait."""

    def __init__(self, batches: int, turns: Connection) -> None:
        self.batches, self.turns, self.seen, self.began = batches, turns, 0, now()

    def __call__(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            if self.seen >= WARM_UP and (self.seen - WARM_UP) % self.batches == 0:
                self.turns.send(now() - self.began)
                self.turns.recv()
                self.began = now()
            self.seen += 1
            yield batch


def plain_training(network: nn.Module, batches: Batches, setting: str = "") -> None:
    """Train on the batches in a plain PyTorch loop."""
    network.to(DEVICE).to(memory_format=torch.channels_last).train()
    wanted = setting.removeprefix("precision=") if setting.startswith("precision=") else "auto"
    mixed = torch.autocast(DEVICE, torch.bfloat16, enabled=choose_precision(wanted, DEVICE, network) == "bf16-mixed")
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=1e-3, weight_decay=0.01, fused=True)
    forward = torch.compile(network.forward, dynamic=False) if setting == "compile=true" else network.forward
    for inputs, labels in batches:
        inputs, labels = inputs.to(DEVICE), labels.to(DEVICE)
        with mixed:
            loss = functional.cross_entropy(forward(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def fixed_batch(batch_size: int, image_size: int) -> tuple[Tensor, Tensor]:
    shape = (batch_size, 1, image_size, image_size)
    return torch.randn(shape, device=DEVICE), torch.randint(0, 10, (batch_size,), device=DEVICE)


def bare_loop(name: str, pace: Pacing, args: argparse.Namespace, setting: str = "") -> None:
    network = models.create(name, image_size=args.image_size)
    plain_training(network, pace(repeat(fixed_batch(args.batch_size, args.image_size))), setting)


class Bare(lightning.LightningModule):
    """Take the step of the bare loop."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        return functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameter_groups(self.network), lr=1e-3, weight_decay=0.01, fused=True)


def lightning_alone(name: str, pace: Pacing, args: argparse.Namespace) -> None:
    network = models.create(name, image_size=args.image_size)
    precision: Any = choose_precision("auto", DEVICE, network)
    trainer = lightning.Trainer(barebones=True, accelerator=DEVICE, devices=1, precision=precision, max_epochs=1)
    with warnings.catch_warnings(action="ignore"):  # about its own deprecated parts
        trainer.fit(Bare(network), pace(repeat(fixed_batch(args.batch_size, args.image_size))))


def train_py(name: str, pace: Pacing, args: argparse.Namespace, setting: str = "") -> None:
    make_batches = TrainingBatches.__iter__
    TrainingBatches.__iter__ = lambda self: iter(pace(make_batches(self)))
    sys.argv = ["train.py", f"model={name}", f"data={args.data}", f"image_size={args.image_size}", "epochs=1"]
    sys.argv += [f"batch_size={args.batch_size}", "optimizer.lr=1e-3", *filter(None, [setting])]
    sys.argv += [f"threads={torch.get_num_threads()}"]  # as the other ways, although these are busy at the start
    sys.argv += [f"run_dir={tempfile.mkdtemp(dir=args.folder)}"]
    train.main()


def data_loader(name: str, pace: Pacing, args: argparse.Namespace, workers: int = 0) -> None:
    facts, size = data.DATASETS[args.data], args.image_size
    resize = [transforms.Resize((size, size))] if size != data.IMAGE_SIZE else []
    normalize = transforms.Normalize(facts.mean, facts.std)
    transform = transforms.Compose([*resize, transforms.ToTensor(), normalize])  # v2's take 1.5 times as long
    dataset = getattr(torchvision.datasets, facts.folder)(str(args.folder), train=True, transform=transform)
    loader = torch.utils.data.DataLoader(
        dataset, args.batch_size, shuffle=True, num_workers=workers, drop_last=True, pin_memory=DEVICE == "cuda"
    )
    plain_training(models.create(name, image_size=size), pace(loader))


WAYS: dict[str, Callable[[str, Pacing, argparse.Namespace], None]] = {  # each trains the named network
    "bare loop": bare_loop,
    "Lightning alone": lightning_alone,
    "train.py": train_py,
    "DataLoader": data_loader,
    "DataLoader, 2 workers": partial(data_loader, workers=2),
}
SETTINGS = ("compile=true", "precision=32-true", "precision=bf16-mixed")
WITH_A_SETTING = {
    f"{way}, {setting}": partial(train, setting=setting)
    for setting in SETTINGS
    for way, train in (("bare loop", bare_loop), ("train.py", train_py))
}


def now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def begin(way: str, name: str, batches: int, args: argparse.Namespace, turns: Connection) -> None:
    """Train in a way until this process is killed."""
    os.setpgrp()  # the workers of a DataLoader are stopped together with this process
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(dir=args.folder)  # nothing is compiled yet
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with Path(os.devnull).open("w") as sys.stdout:
        (WAYS | WITH_A_SETTING)[way](name, Pace(batches, turns), args)


def take_turns(
    ways: Iterable[str], name: str, batches: int, rounds: int, args: argparse.Namespace
) -> tuple[list[Rates], Starts]:
    """Return the images per second of each way in each round. Raises RunFailed if a way ends early."""
    context, started, found, starts = get_context("spawn"), {}, [], {}
    try:
        for way in ways:
            began, (turns, theirs) = time.perf_counter(), context.Pipe()
            process = context.Process(target=begin, args=(way, name, batches, args, theirs))
            process.start()
            theirs.close()  # or recv would not notice that the process closed it
            started[way] = process, turns
            wait_and_stop(process, turns)
            starts[way] = time.perf_counter() - began
        for _ in range(rounds):
            rates = {}
            for way, (process, turns) in started.items():
                os.killpg(process.pid, signal.SIGCONT)
                turns.send("your turn")
                rates[way] = batches * args.batch_size / wait_and_stop(process, turns)
            found.append(rates)
    except EOFError:
        raise errors.RunFailed(f"{name} does not train to the end of its rounds.") from None
    finally:
        for process, _ in started.values():
            process.kill()  # one that failed may have no process group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
    return found, starts


def wait_and_stop(process: SpawnProcess, turns: Connection) -> float:
    seconds = turns.recv()
    assert process.pid
    os.killpg(process.pid, signal.SIGSTOP)
    return seconds


def measure(name: str, batches: int, args: argparse.Namespace) -> tuple[list[Rates], Starts]:
    """Measure one turn: all rounds of all ways."""
    ways = ["bare loop", "train.py"] if args.brief else list(WAYS)
    ways += [way for way in WITH_A_SETTING if way.partition(", ")[2] in args.settings]
    return take_turns(ways, name, batches, ROUNDS, args)


def choose_batches(name: str, args: argparse.Namespace) -> int:
    """Return the batches of a round: the bare loop takes args.seconds for them, and all rounds fit into an epoch."""
    [rates], _ = take_turns(["bare loop"], name, 2, 1, args)
    most = (EPOCH // args.batch_size - WARM_UP - 2) // ROUNDS  # 2: Compilation tries one, and one ends the last round
    return max(1, min(most, int(args.seconds * rates["bare loop"] / args.batch_size)))


def rows(networks: dict[str, Any], batch_size: int) -> list[list[str]]:
    """Return a table, head first: medians and quartiles over the rounds of all turns, ratios within each round."""
    table = [["network", "way", "images/s", "ms a step", "/ bare loop", "/ DataLoader"]]
    for name, measured in networks.items():
        rounds = [rates for turn in measured["turns"] for rates in turn]
        for way in rounds[0]:
            rates = [each[way] for each in rounds]
            setting = way.partition(", ")[2]
            others = [f"bare loop, {setting}"] if way in WITH_A_SETTING else ["bare loop", "DataLoader"]
            ratios = [ratio(rounds, way, other) for other in others]
            step = f"{1e3 * batch_size / statistics.median(rates):.4g}"
            table.append([name, way, median_and_quartiles(rates, ",.0f"), step, *ratios, *[""] * (2 - len(ratios))])
    return table


def ratio(rounds: list[Rates], way: str, other: str) -> str:
    """Return the rate of a way divided by that of another within each round; nothing if the other was not measured."""
    if other not in rounds[0]:
        return ""
    return median_and_quartiles([rates[way] / rates[other] for rates in rounds], ".2f")


def median_and_quartiles(values: list[float], form: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def in_short(networks: dict[str, Any], batch_size: int) -> list[list[str]]:
    """Return a table, head first, with a row per network: train.py against the bare loop and the DataLoader."""
    table = [["network", "the bare loop: ms a step", "train.py / bare loop", "train.py / DataLoader"]]
    for name, measured in networks.items():
        rounds = [rates for turn in measured["turns"] for rates in turn]
        step = 1e3 * batch_size / statistics.median(each["bare loop"] for each in rounds)
        ratios = [ratio(rounds, "train.py", other).partition(" ")[0] for other in ("bare loop", "DataLoader")]
        table.append([name, f"{step:.4g}", *ratios])
    return table


def gains(networks: dict[str, Any], setting: str) -> list[list[str]]:
    """Return a table, head first: what a setting gains train.py, how much later it starts, when that has paid."""
    table = [["network", "images/s", setting, "ratio", "starts later by, s", "pays after, epochs"]]
    plain, other = "train.py", f"train.py, {setting}"
    for name, measured in networks.items():
        rounds = [rates for turn in measured["turns"] for rates in turn]
        rates = [statistics.median(each[way] for each in rounds) for way in (plain, other)]
        seconds = statistics.median(each[other] - each[plain] for each in measured["starts"])
        gain = statistics.median(each[other] / each[plain] for each in rounds)
        won = EPOCH / rates[0] * (1 - 1 / gain)  # seconds of an epoch
        pays = f"{math.ceil(max(seconds, 0) / won):,}" if won > 0 else "never"
        table.append([name, *(f"{rate:,.0f}" for rate in rates), ratio(rounds, other, plain), f"{seconds:.0f}", pays])
    return table


def page(results: dict[str, Any]) -> str:
    """Return the results as a Markdown page."""
    networks, batch_size = results["networks"], results["batch_size"]
    turns = sorted({len(measured["turns"]) for measured in results["networks"].values()})
    all_tables = [gains(networks, setting) for setting in results["settings"]]
    all_tables += [in_short(networks, batch_size), rows(networks, batch_size)]
    return (
        f"# Images per second\n\n{results['machine']}. Batches of {batch_size}, {results['image_size']} x "
        f"{results['image_size']}, {results['data']}. Medians (quartiles) of {ROUNDS} rounds in each of "
        f"{' or '.join(map(str, turns))} turns; a ratio is taken within each round.\n\n"
        + "\n".join(tables.markdown(*table) for table in all_tables)
    )


def main() -> int:
    parser = flags.Flags("python -m benchmarks.throughput", __doc__)
    parser.add_argument("--models", nargs="+", default=models.names(), choices=models.names())
    parser.add_argument("--data", default="mnist", choices=list(data.DATASETS))
    parser.add_argument("--seconds", type=float, default=1, help="seconds of one round of the bare loop (default: 1)")
    parser.add_argument(
        "--settings", nargs="+", default=[], choices=SETTINGS, help="add the bare loop and train.py with each of these"
    )
    parser.add_argument("--brief", action="store_true", help="measure the bare loop and train.py alone")
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--save", metavar="NAME", help="write benchmarks/results/NAME.md and .json, or add the turns they lack"
    )
    args = parser.parse_args()
    if args.batch_size * (fewest := WARM_UP + ROUNDS + 2) > EPOCH:
        parser.error(f"--batch-size {args.batch_size}: {fewest} batches have to fit into an epoch")

    settings = {key: vars(args)[key] for key in ("batch_size", "image_size", "data", "settings", "brief")}
    results = saved.load(args.save, {"machine": describe_machine(), **settings, "networks": {}}, "machine", *settings)
    networks = results["networks"]
    os.environ["PYTHONWARNINGS"] = "ignore:resource_tracker"  # it warns of the killed processes
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        unpack(args.folder)
        for turn in range(args.turns):
            for name in args.models:
                if name not in networks:
                    networks[name] = {"batches": choose_batches(name, args), "turns": []}
                network = networks[name]
                if len(network["turns"]) > turn:
                    continue
                rounds, starts = measure(name, network["batches"], args)
                network["turns"].append(rounds)
                network.setdefault("starts", []).append(starts)
                sys.stderr.write(tables.markdown(*rows({name: network}, args.batch_size)))
                if args.save:
                    saved.save(args.save, results, page(results))
    print(tables.markdown(*rows(networks, args.batch_size)) + results["machine"])
    return 0


if __name__ == "__main__":
    flags.run(main)
