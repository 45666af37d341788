"""Measure a network on a split, on the data of its training or on others. Needs no Lightning."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from data import DATASETS, DataError
from data.batches import EVALUATION_BATCH, EvaluationBatches, Preprocess
from data.splits import Images, Splits, digest, with_labels_of
from launch.errors import RunFailed
from models import WeightsError, cards

from .machine import to_channels_last

Origin = Literal["those of the training", "changed", "others"]
QUICK = 500  # images of a quick evaluation
LOSS_TOLERANCE, ACCURACY_TOLERANCE = 1e-3, 2e-4  # relative; a fraction of the images: processors round differently


def measure(
    network: nn.Module, splits: Splits, preprocess: Preprocess, device: torch.device | str = "cpu"
) -> tuple[dict[str, Any], Tensor]:
    """Return the metrics of validation (None without it) and test, and the test logits (N, num_classes)."""
    logits = predict_logits(network, splits.test, preprocess, device)
    val = splits.val and compute_metrics(predict_logits(network, splits.val, preprocess, device), splits.val.labels)
    return {"val": val, "test": compute_metrics(logits, splits.test.labels)}, logits


@torch.inference_mode()
def predict_logits(
    network: nn.Module, split: Images, preprocess: Preprocess, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the logits (N, num_classes) on the CPU; leave `network` on `device` in evaluation mode."""
    to_channels_last(network.to(device)).eval()
    batches = EvaluationBatches(split, EVALUATION_BATCH, lambda images: preprocess(images.to(device)))
    return torch.cat([network(images).float() for images, _ in batches]).cpu()


def require_valid(logits: Tensor, file: cards.WeightsFile) -> None:
    """Raise RunFailed for logits (N, num_classes) that are not finite, WeightsError if the card names other classes."""
    if not logits.isfinite().all():
        raise RunFailed(f"{file.path} gives outputs that are not finite. {cards.WHAT_NEXT}")
    if (classes := len(file.card["classes"])) != logits.shape[1]:
        raise WeightsError(f"{file.path} names {classes} classes, its network has {logits.shape[1]}. {cards.WHAT_NEXT}")


def compute_metrics(logits: Tensor, labels: Tensor) -> dict[str, float | int]:
    """Return mean cross entropy, accuracy and number of images. Raises RunFailed if the loss is not finite."""
    loss = functional.cross_entropy(logits.double(), labels).item()
    if not math.isfinite(loss):
        raise RunFailed(f"the trained network's loss is {loss}. Try a smaller optimizer.lr or gradient_clip=1.")
    correct = int((logits.argmax(dim=1) == labels).sum())
    return {"loss": loss, "accuracy": correct / len(labels), "images": len(labels)}


def metrics_match(measured: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Return whether metrics differ by no more than the rounding of different machines."""
    images = measured["images"]
    differing = round(images * abs(measured["accuracy"] - recorded["accuracy"]))
    return (
        images == recorded["images"]
        and differing <= max(1, ACCURACY_TOLERANCE * images)
        and math.isclose(measured["loss"], recorded["loss"], rel_tol=LOSS_TOLERANCE)
    )


def data_of(card: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments with which `data.load` reads the data of a card's training, in the same splits.

    Raises WeightsError if the card lacks one, or if the data came from a user's function.
    """
    arguments = cards.data_arguments(card)
    if arguments.get("format") == "own":
        raise WeightsError(
            f"{card['data']!r} came from a function of your own. Name a folder or a .npz file with --data."
        )
    return arguments if cards.is_bundled(card) else arguments | {"image_size": preprocess_of(card).image_size}


def preprocess_of(card: dict[str, Any]) -> Preprocess:
    """Return the preprocessing that a card's network was trained with. Raises WeightsError if the card lacks it."""
    try:
        preprocess = Preprocess.from_card(card["input"])
        if preprocess.as_card()["image_size"] == card["arguments"]["image_size"]:
            return preprocess
    except (KeyError, TypeError, ValueError):
        pass
    raise WeightsError(f"the card does not say what its network's input is, only {card.get('input')}.")


def choose_data(
    file: cards.WeightsFile, read_splits: Callable[..., Splits], wanted: str | None
) -> tuple[str, Splits, Origin]:
    """Read the data of the training, or those that are wanted: a name, a folder, a file.

    Return their name, their splits, and what they are. Raises DataError if the network cannot read them, or does not
    know their classes.
    """
    card = file.card
    if wanted is None or (wanted == card["data"] and cards.is_bundled(card)):
        splits = read_training_data(file, read_splits)
        unchanged = cards.is_bundled(card) or card["training"].get("sha256") in (None, digest(splits))
        if not unchanged:  # perhaps in its classes
            return card["data"], with_labels_of(card["classes"], splits), "changed"
        return card["data"], splits, "those of the training"
    if wanted in DATASETS:
        splits = read_splits(name=wanted)
        require_fit(wanted, splits, card)
        return wanted, splits, "others"
    path = Path(wanted).expanduser().absolute()
    arguments: dict[str, Any] = {"name": path.stem, "root": str(path), "image_size": preprocess_of(card).image_size}
    arguments["format"] = "folder" if path.is_dir() else "arrays"
    if not cards.is_bundled(card):  # perhaps the data of the training in another place
        with suppress(ValueError):  # by the sizes of its splits, of data with fewer images
            splits = read_splits(**cards.data_arguments(card) | arguments)
            if digest(splits) == card["training"].get("sha256"):
                return path.stem, splits, "those of the training"
    splits = read_splits(**arguments)
    require_fit(path.stem, splits, card)
    return path.stem, with_labels_of(card["classes"], splits), "others"


def read_training_data(file: cards.WeightsFile, read_splits: Callable[..., Splits]) -> Splits:
    """Read the data of a network's training, in the same splits. Raises DataError if they are not available."""
    arguments = data_of(file.card)
    if cards.is_bundled(file.card) and arguments["name"] not in DATASETS:
        raise DataError(f"{file.path} was trained on {arguments['name']!r}, which is not here. Name data with --data.")
    try:
        splits = read_splits(**arguments)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{file.path} has a card that does not say how its data were split ({error}).") from None
    require_fit(arguments["name"], splits, file.card)
    return splits


def require_fit(name: str, splits: Splits, card: dict[str, Any]) -> None:
    """Raise DataError for other channels than those that the network reads, and for more classes than it has."""
    channels, classes = card["arguments"]["in_channels"], len(card["classes"])
    if splits.info.channels != channels or len(splits.info.classes) > classes:
        has = f"{splits.info.channels} channels and {len(splits.info.classes)} classes"
        raise DataError(f"{name} has {has}, the network is for {channels} and {classes}. Name other data with --data.")
