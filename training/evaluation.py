"""Measure a network on a split: the published metrics. Needs no Lightning."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from data.batches import EVALUATION_BATCH, EvaluationBatches, Preprocess
from data.splits import Images, Splits
from launch.errors import RunFailed
from models import WeightsError

from .machine import to_channels_last

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
    batches = EvaluationBatches(split.to(device), EVALUATION_BATCH, preprocess)
    return torch.cat([network(images).float() for images, _ in batches]).cpu()


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
    """Return the arguments with which `data.load` splits the data as for a card's training.

    Raises WeightsError if the card lacks them.
    """
    training = card["training"]
    try:
        arguments = {"name": card["data"], **{key: training[key] for key in ("train_size", "val_size", "test_size")}}
        if training.get("format") in ("folder", "arrays"):
            arguments |= {key: training[key] for key in ("format", "root", "split_seed")}
            arguments["image_size"] = preprocess_of(card).image_size
    except KeyError as error:
        raise WeightsError(f"the card does not say how its data were split ({error}).") from None
    return arguments


def preprocess_of(card: dict[str, Any]) -> Preprocess:
    """Return the preprocessing that a card's network was trained with. Raises WeightsError if the card lacks it."""
    try:
        preprocess = Preprocess.from_card(card["input"])
        if preprocess.as_card()["image_size"] == card["arguments"]["image_size"]:
            return preprocess
    except (KeyError, TypeError, ValueError):
        pass
    raise WeightsError(f"the card does not say what its network's input is, only {card.get('input')}.")
