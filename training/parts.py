"""Make the parts of a run that its configuration describes: data, network, loss, optimizer, schedule.

What does not fit raises SettingsError, before anything is written.
"""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import models
from data.augmentation import Augmentation
from data.datasets import DataError, height_and_width
from data.splits import Splits, check, digest
from launch import settings
from launch.configuration import plain
from launch.errors import SettingsError
from launch.resume import OWN_DATA_KEYS, check_unchanged
from models import cards
from models.weights import Transfer, initialize_from

from . import checkpoint_files, losses
from .module import freeze, parameter_groups

FROM_THE_DATA = ("image_size", "in_channels", "num_classes")  # arguments of every network


NOT_CHOSEN = (  # callbacks that do not fit beside those of every run
    *(callbacks.Checkpoint, callbacks.ProgressBar, callbacks.GradientAccumulationScheduler),
    *(callbacks.LearningRateFinder, callbacks.BatchSizeFinder, callbacks.StochasticWeightAveraging),
)


class Components(NamedTuple):
    """Hold the objects that a configuration describes."""

    config: DictConfig  # with the classes, channels and image size of own data
    splits: Splits
    augment: Augmentation | None
    network: nn.Module
    transfer: Transfer | None  # of the weights that the network starts from
    loss: Callable[[Tensor, Tensor], Tensor]  # of logits (N, classes) and labels (N,)
    optimizer: Callable[..., Optimizer]
    scheduler: Callable[..., LRScheduler]
    callbacks: list[Callback]  # of the configuration


def build(config: DictConfig, splits: Splits | None = None) -> Components:
    """Make all parts; those whose arguments can be checked without the data are checked before these are read.

    `splits` are the data of this configuration, if they have been read already.
    """
    check_arguments(config)
    optimizer = instantiate(config.optimizer, _convert_="all")
    scheduler = instantiate(config.scheduler)
    try_optimizer(optimizer, scheduler)
    chosen = make_callbacks(config)
    splits = splits or read_data(config)
    if config.data.format != "bundled":
        config = describe_data(config, splits)
    torch.manual_seed(config.seed)
    augment = make_augmentation(config, splits.info.mean)
    network = make_network(config)
    loss = make_loss(config)
    transfer = None
    if config.weights and not (config.resume and checkpoint_files.any_saved(Path(config.resume) / "checkpoints")):
        transfer = initialize_from(network, network_arguments(config), cards.read(config.weights))
    try:
        freeze(network, list(config.freeze))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return Components(config, splits, augment, network, transfer, loss, optimizer, scheduler, chosen)


def check_arguments(config: DictConfig) -> None:
    """Check the arguments of the network, the augmentation and the schedule against what these are called with."""
    if config.model._target_ == settings.OF_THE_ZOO:
        given = {key: value for key, value in network_arguments(config).items() if key not in FROM_THE_DATA}
        settings.check_arguments("model", models.network_class(config.model.name), given, *FROM_THE_DATA)
    else:
        find_target("model", config.model._target_)
    if (loss := find_target("loss", config.loss._target_)) in (losses.CrossEntropy, losses.Focal):
        settings.check_arguments("loss", loss, loss_arguments(config))
    settings.check_arguments("data.augment", Augmentation, plain(config.data.augment), "fill")
    scheduler = instantiate(config.scheduler)
    settings.check_arguments("scheduler", scheduler.func, scheduler.keywords, "optimizer", "steps_per_epoch")


def read_data(config: DictConfig) -> Splits:
    """Read the data of a configuration; own data in the size of `image_size`, if there is one."""
    arguments = plain(config.data)
    for key in ("augment", *OWN_DATA_KEYS):
        arguments.pop(key, None)
    if config.data.format == "own":
        return read_own_data(config.data._target_, arguments)
    if config.data.format != "bundled" and config.image_size:
        arguments["image_size"] = height_and_width(config.image_size)
    return instantiate(arguments)


def read_own_data(target: str, arguments: dict[str, Any]) -> Splits:
    """Call the user's function. Raises SettingsError for what it raises, and for what cannot be trained on."""
    splits = call_target(
        "data", target, {key: arguments[key] for key in arguments if key not in ("_target_", "format")}
    )
    try:
        check(splits)
    except ValueError as error:
        raise SettingsError(f"data._target_={target} {error}.") from None
    return splits


def describe_data(config: DictConfig, splits: Splits) -> DictConfig:
    """Return the configuration with what own data have: classes, channels, image size and SHA-256.

    Raises SettingsError where they do not fit the rest of it, or are not those of the run that is resumed.
    """
    height, width = splits.info.image_size
    size = height if height == width else [height, width]
    found = {"num_classes": len(splits.info.classes), "channels": splits.info.channels, "image_size": size}
    for key, value in found.items():
        if (given := plain(config.data)[key]) not in (None, value):
            raise SettingsError(f"data.{key}={given} is not valid: {config.data.name} has {value}. Leave it out.")
    config = settings.replace(
        config, {f"data.{key}": value for key, value in {**found, "sha256": digest(splits)}.items()}
    )
    settings.check(plain(config))
    settings.check_batch_size(config.batch_size, len(splits.train.labels))
    if config.resume:
        check_unchanged(Path(config.resume), plain(config))
    return config


def make_network(config: DictConfig) -> nn.Module:
    """Build the network of the zoo, or of the user's own class. Raises SettingsError for arguments that it refuses."""
    arguments = network_arguments(config)
    if config.model._target_ == settings.OF_THE_ZOO:
        arguments["name"] = config.model.name
    network = call_target("model", config.model._target_, arguments)
    if config.model._target_ != settings.OF_THE_ZOO:
        try_network(network, config)
    return network


def try_network(network: Any, config: DictConfig) -> None:
    """Apply a network of the user's own to two images. Raises SettingsError unless it gives their logits."""
    target, classes = config.model._target_, config.data.num_classes
    if not isinstance(network, nn.Module):
        raise SettingsError(f"model._target_={target} gives no torch.nn.Module.")
    images = torch.zeros(2, config.data.channels, *height_and_width(plain(config)["image_size"]))
    try:
        with torch.no_grad():
            logits = network.eval()(images)
        network.train()
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise SettingsError(f"model._target_={target} fails: {first_line(error)}.") from error
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        found = f"outputs {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise SettingsError(f"model._target_={target} gives {found} for two images, expected logits {(2, classes)}.")


def make_loss(config: DictConfig) -> Callable[[Tensor, Tensor], Tensor]:
    """Make the loss, and try it. Raises SettingsError unless it gives one number that can be differentiated."""
    target = config.loss._target_
    loss = call_target("loss", target, loss_arguments(config))
    labels = torch.arange(config.batch_size) % config.data.num_classes
    logits = torch.zeros(config.batch_size, config.data.num_classes, requires_grad=True)
    try:
        with warnings.catch_warnings(action="ignore"):
            value = loss(logits, labels)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise SettingsError(f"loss._target_={target} fails: {first_line(error)}.") from error
    if not (isinstance(value, Tensor) and value.ndim == 0 and value.requires_grad and value.isfinite()):
        found = value.item() if isinstance(value, Tensor) and value.ndim == 0 else type(value).__name__
        if isinstance(value, Tensor) and value.ndim:
            found = f"a tensor {tuple(value.shape)}"
        raise SettingsError(f"loss._target_={target} gives {found}, expected one number that depends on the logits.")
    return loss


def make_callbacks(config: DictConfig) -> list[Callback]:
    """Make the callbacks of the configuration. Raises SettingsError for one that is none, or refuses its arguments."""
    made = []
    for name, section in config.callbacks.items():
        arguments = plain(section)
        target = arguments.pop("_target_")
        callback = call_target(f"callbacks.{name}", target, arguments)
        if not isinstance(callback, Callback):
            raise SettingsError(f"callbacks.{name}._target_={target} gives no lightning.pytorch.callbacks.Callback.")
        if isinstance(callback, NOT_CHOSEN):
            what = target.rpartition(".")[2]
            raise SettingsError(f"callbacks.{name}: {what} does not fit beside what runs do themselves. Leave it out.")
        made.append(callback)
    return made


def make_augmentation(config: DictConfig, mean: tuple[float, ...]) -> Augmentation | None:
    """Return the augmentation of the training images, None where all of it is off. Raises SettingsError."""
    try:
        augment = Augmentation(tuple(255 * each for each in mean), **plain(config.data.augment))
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return None if augment.is_off else augment


def try_optimizer(optimizer: Callable[..., Any], scheduler: Callable[..., Any]) -> None:
    """Take one step with a small network. Raises SettingsError for arguments that torch refuses."""
    probe = nn.Linear(1, 1)
    probe(torch.ones(1, 1)).backward()
    try:
        trial = optimizer(parameter_groups(probe))
        trial.step()
        scheduler(trial, steps_per_epoch=1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(f"optimizer or scheduler: {first_line(error)}.") from error


def find_target(section: str, target: str) -> Any:
    """Import what this dotted path names. Raises SettingsError if it is not there."""
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it would print what is raised here in one line
    try:
        return get_object(target)
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        reason = first_line(error.__cause__ or error)
        raise SettingsError(f"{section}._target_={target} cannot be imported: {reason}.") from error


def call_target(section: str, target: str, arguments: dict[str, Any]) -> Any:
    """Call what this dotted path names. Raises SettingsError if it is not there or refuses the arguments."""
    find_target(section, target)
    try:
        return instantiate({"_target_": target, **arguments}, _convert_="all")
    except SystemExit as error:
        raise SettingsError(f"{section}._target_={target} exits with {error.code}.") from error
    except InstantiationException as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        reason = f"{f'{section}: ' if '.' in section else ''}{first_line(error.__cause__ or error)}"
        raise SettingsError(
            f"{reason}. Try another {'image_size or ' if section == 'model' else ''}argument."
        ) from error


def first_line(error: BaseException) -> str:
    """Return what an error says, or else its type, without a full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def network_arguments(config: DictConfig) -> dict[str, Any]:
    """Return what the configuration passes to the network's constructor."""
    return {key: value for key, value in plain(config.model).items() if key not in ("_target_", "name")}


def loss_arguments(config: DictConfig) -> dict[str, Any]:
    return {key: value for key, value in plain(config.loss).items() if key not in ("_target_", "l1")}


def network_name(config: DictConfig) -> str:
    """Return what a card calls the network: its name in the zoo, or the dotted path of the user's own class."""
    return config.model.name if config.model._target_ == settings.OF_THE_ZOO else config.model._target_
