"""Measure trained weights: those of a run, of a file, or published ones."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import DATASETS, load
from launch import errors, flags
from models import WeightsError, cards
from reports.tables import for_terminal, percent

if TYPE_CHECKING:
    from data.splits import Images, Splits

EXAMPLES = """
  evaluate.py --weights runs/<run>                         on all test images
  evaluate.py --weights runs/<run> --split val             on the images that its training validated on
  evaluate.py --weights lenet-mnist --data fashion_mnist   on another data set
  evaluate.py --weights all                                all published weights, each against its card
"""
ALL = "all"


def main() -> int:
    command = read_flags()
    if command.list:
        return print_list()
    names = cards.published() if command.weights == ALL else [command.weights]
    if not names:
        raise WeightsError("there are no published weights: the folder weights/ is empty.")
    results, different = [], []
    read_splits = functools.cache(load)  # for --weights all
    for name in names:
        try:
            results.append(evaluate(name, command, read_splits))
            if results[-1]["as_recorded"] is False:
                different.append(name)
        except WeightsError as error:
            if command.weights != ALL:
                raise
            results.append({"weights": name, "as_recorded": False, "error": errors.report(error)[1]})
            different.append(name)  # the others are measured all the same
    if command.json:
        flags.write_json(command.json, results if command.weights == ALL else results[0])
    if different:
        raise WeightsError(f"{len(different)} of {len(names)} are not what their cards say: {', '.join(different)}.")
    return 0


def read_flags() -> argparse.Namespace:
    parser = flags.Flags("evaluate.py", __doc__, EXAMPLES)
    add = parser.add_argument
    add("--weights", metavar="W", help="a run folder, a weights file, a published name, or all for all published ones")
    add("--list", action="store_true", help="list the published weights")
    other = f"data other than those of its training: {', '.join(DATASETS)}, a folder, or a .npz file"
    add("--data", metavar="NAME", help=other)
    add("--split", default="test", help="test (the default), val or train: cut as for the training, not augmented")
    add("--quick", action="store_true", help="only the first 500 test images")
    add("--device", default="auto", help="auto (the default: CUDA where there is one), cpu or cuda")
    flags.add_json(parser, "the metrics")
    command = parser.parse_args()
    flags.check(command, split=("test", "val", "train"), device=flags.DEVICES)
    if command.data and not Path(command.data).expanduser().exists():
        flags.check(command, data=DATASETS)
    if not command.weights and not command.list:
        raise errors.SettingsError("--weights is missing: a run folder, a weights file, a published name, or all.")
    if command.list and command.json:
        raise errors.SettingsError("--json writes metrics, which --list does not measure. Leave one of them out.")
    if command.quick and command.split != "test":
        raise errors.SettingsError("--quick uses test images. Leave --split out.")
    return command


def evaluate(source: str, command: argparse.Namespace, read_splits: Callable[..., Splits]) -> dict[str, Any]:
    """Measure one network, print its metrics and whether they are those of its card, and return them."""
    began, out = time.perf_counter(), sys.stderr if command.json == "-" else sys.stdout
    file = cards.read(source)
    card, epochs = file.card, file.card["training"].get("epoch")
    print(f"{source}: {card['network']}, trained on {card['data']}, epoch {epochs}", file=out, flush=True)

    # Imported here because it takes seconds.
    from models.weights import load_network
    from training import evaluation, machine

    device = machine.choose_accelerator(command.device)
    network, preprocess = load_network(file), evaluation.preprocess_of(card)
    data_name, images, recorded = choose_images(file, read_splits, command)
    metrics = evaluation.compute_metrics(evaluation.predict_logits(network, images, preprocess, device), images.labels)
    as_recorded = evaluation.metrics_match(metrics, recorded) if recorded else None
    remark = {None: "", True: ", as recorded", False: f", recorded {recorded}"}[as_recorded]
    print(
        f"{data_name}: {command.split} accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.4f} "
        f"({metrics['images']} images){remark}",
        file=out,
        flush=True,
    )
    return {
        "weights": source,
        "network": card["network"],
        "data": data_name,
        "split": command.split,
        **metrics,
        "recorded": recorded,
        "as_recorded": as_recorded,
        "device": machine.describe_device(device),
        "seconds": round(time.perf_counter() - began, 2),
        "versions": machine.versions(),
    }


def choose_images(
    file: cards.WeightsFile, read_splits: Callable[..., Splits], command: argparse.Namespace
) -> tuple[str, Images, dict[str, Any] | None]:
    """Return the data's name, the images of a split, and their recorded metrics if they are those of the training."""
    from training.evaluation import QUICK, choose_data

    name, splits, origin = choose_data(file, read_splits, command.data)
    if origin == "changed":
        print(
            f"refzoo: {name} was changed since the training, which may have used some of these images.", file=sys.stderr
        )
    if (images := getattr(splits, command.split)) is None:
        raise errors.SettingsError(f"{file.path} was trained on all training images: there is no --split val.")
    if command.quick:
        images = images.part(0, QUICK)
    recorded = file.card["metrics"].get("quick" if command.quick else command.split)
    return name, images, recorded if origin == "those of the training" else None


def print_list() -> int:
    """Print a table of the published weights from their cards; return the exit status."""
    from rich.console import Console

    rows, status = [], 0
    for name in cards.published():
        try:
            _, card, content = cards.read(name)
        except WeightsError as error:
            status, _ = errors.report(error)
            continue
        val, test = (card["metrics"][split] for split in ("val", "test"))
        accuracies = [percent(each and each["accuracy"]) for each in (val, test)]
        rows.append([name, *accuracies, f"{card['parameters']:,}", f"{len(content) / 1e3:,.0f}"])
    Console(highlight=False).print(for_terminal(["name"], ["val %", "test %", "parameters", "kB"], rows))
    return status


if __name__ == "__main__":
    flags.run(main)
