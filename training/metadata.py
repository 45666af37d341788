"""Collect what metrics.json and the card of the weights say about a run."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from data.batches import Preprocess
from data.splits import Splits

from . import machine
from .distributed import Peers

TRAINING_KEYS = (  # the parts of the configuration that every card has
    *("seed", "epochs", "batch_size", "loss", "gradient_clip", "ema", "select", "precision", "compile"),
    *("optimizer", "scheduler", "weights"),
)
DATA_KEYS = ("train_size", "val_size", "test_size", "augment")
OWN_DATA_KEYS = ("format", "root", "split_seed", "sha256")  # of data that are not bundled


def run_metadata(config: DictConfig, network: nn.Module, peers: Peers) -> dict[str, Any]:
    """Return what metrics.json has from the start of a run."""
    accelerator = config.trainer.accelerator
    return {
        "model": config.model.name,
        "data": config.data.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "image_size": OmegaConf.to_container(config, resolve=True)["image_size"],  # type: ignore[index, call-overload]
        "parameters": count_parameters(network),
        "processes": peers.world,
        "device": machine.describe_device(accelerator),
        "machine": machine.describe_machine(accelerator),
        "precision": config.precision,
        "compile": config.compile,
        "versions": machine.versions(),
    }


def card(
    config: DictConfig, splits: Splits, preprocess: Preprocess, epochs: int, epoch: int, metrics: dict[str, Any]
) -> dict[str, Any]:
    """Return the card of the weights of `epoch` after a training of `epochs`, without network and arguments."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    own_data = OWN_DATA_KEYS if config.data.format != "bundled" else ()
    plain["scheduler"].pop("epochs", None)  # those of the run, which the card has already
    if plain["loss"]["_target_"] == "training.losses.CrossEntropy":  # as on cards from before there was a choice
        del plain["loss"]["_target_"]
    plain["loss"] = {key: value for key, value in plain["loss"].items() if value is not None}
    training = {
        "images": len(splits.train.labels),
        "epoch": epoch,
        **{key: plain["data"].get(key) for key in (*DATA_KEYS, *own_data)},
        **{key: plain[key] for key in TRAINING_KEYS},
        "epochs": epochs,
        **({"threads": plain["threads"]} if plain["trainer"]["accelerator"] == "cpu" else {}),  # sums round by them
        **({"freeze": plain["freeze"]} if plain["freeze"] else {}),
    }
    if plain["weights"]:  # without the folders above, which are of this machine
        training["weights"] = "/".join(Path(plain["weights"]).parts[-2:])
    return {
        "data": config.data.name,
        "input": {"channels": splits.info.channels, **preprocess.as_card()},
        "classes": splits.info.classes,
        "metrics": metrics,
        "training": training,
        "versions": machine.versions(),
    }


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
