"""The checks of a configuration: every key is known, every value has its type and lies in its range.

Nothing here imports torch, so that a wrong command is answered at once.
"""

import re
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

import data
import models
from models import did_you_mean
from models.arguments import check_counts, check_dropout
from models.image_size import check_image_size

from . import processes
from .errors import SettingsError


class Section(BaseModel):
    """Keys that are not listed are refused; "1" is no number and 1.5 no integer."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Factory(Section):
    """A section that names what it configures: further arguments are that callable's own to check."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]


limits = {key: (type(largest), Field(ge=0, le=largest)) for key, largest in data.AUGMENTATIONS.items()}
Augment = create_model("Augment", __base__=Section, **limits)  # type: ignore[call-overload]


class Data(Section):
    target: Literal["data.load"] = Field(alias="_target_")
    name: str
    num_classes: int = Field(ge=2)
    root: str | None = Field(min_length=1)
    train_size: int | None = Field(ge=1)
    val_size: int = Field(ge=0, lt=data.TRAIN_IMAGES)
    test_size: int | None = Field(ge=1, le=data.TEST_IMAGES)
    augment: Augment  # type: ignore[valid-type]


class Loss(Section):
    label_smoothing: float = Field(ge=0, lt=1)
    l1: float = Field(ge=0)


Decay = Annotated[float, Field(ge=0, lt=1)]  # the share that stays


class Optimizer(Factory):
    target: str = Field(alias="_target_", pattern=r"^torch\.optim\.\w+$")
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    eps: float = Field(default=0, ge=0)
    fused: bool = False
    momentum: Decay = 0
    alpha: Decay = 0
    rho: Decay = 0
    betas: list[Decay] = Field(default=[0, 0], min_length=2, max_length=2)


class Scheduler(Section):
    target: str = Field(alias="_target_", pattern=r"^training\.schedules\.\w+$")
    partial: Literal[True] = Field(alias="_partial_")
    warm_up: Share = 0
    every: int = Field(default=1, ge=1)
    factor: float = Field(default=1, gt=0, le=1)


class Trainer(Section):
    target: Literal["lightning.Trainer"] = Field(alias="_target_")
    accelerator: Literal["auto", "cpu", "cuda"]
    strategy: Literal["auto", "ddp"] = "auto"
    devices: int = Field(ge=1)
    num_nodes: int = Field(default=1, ge=1)


class Logger(Factory):
    target: str = Field(default="", alias="_target_", pattern=r"^lightning\.pytorch\.loggers\.\w+$")


class Checkpoint(Section):
    every_minutes: float = Field(gt=0)


class Settings(Section):
    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    image_size: int = Field(ge=1)
    gradient_clip: float | None = Field(gt=0)
    ema: Decay | None
    select: Literal["last", "best"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    weights: str | None = Field(min_length=1)
    run_dir: str | None = Field(min_length=1)
    resume: str | None
    report: bool
    checkpoint: Checkpoint
    model: dict[str, Any]
    data: Data
    loss: Loss
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    logger: Logger


LOGGER_PACKAGES = {"lightning.pytorch.loggers.TensorBoardLogger": "tensorboard"}  # each is an extra of its own name


def check(configuration: Any) -> dict[str, Any]:
    """The configuration itself, once it is found to be right.

    Raises SettingsError, naming the key, what was found and what was expected, at the first thing that is wrong.
    """
    settings = _validate(Settings, configuration)
    if settings.precision == "16-mixed" and settings.gradient_clip is not None and settings.optimizer.fused:
        raise SettingsError(
            "gradient_clip does not go with precision=16-mixed and a fused optimizer, which unscales gradients itself. "
            "Take precision=bf16-mixed, or optimizer.fused=false."
        )
    if settings.select == "best" and not settings.data.val_size:
        raise SettingsError("select=best looks at validation, and data.val_size=0 leaves none. Take select=last.")
    if settings.scheduler.every > (reached := max(settings.epochs - 1, 1)):
        raise SettingsError(
            f"scheduler.every={settings.scheduler.every} is not reached before the end of epochs={settings.epochs}. "
            f"Make it at most {reached}, or take scheduler=constant."
        )
    if settings.data.name not in data.DATASETS:
        raise SettingsError(
            f"there is no data set {settings.data.name!r}{did_you_mean(settings.data.name, data.DATASETS)}"
        )
    if settings.data.num_classes != (classes := len(data.DATASETS[settings.data.name].classes)):
        raise SettingsError(
            f"data.num_classes={settings.data.num_classes} is not valid: {settings.data.name} has {classes}."
        )
    _check_network(settings)
    _check_processes(settings)
    package = LOGGER_PACKAGES.get(configuration["logger"].get("_target_"))
    if package and not find_spec(package):
        raise SettingsError(f"this logger needs the package {package}. Install it: uv sync --extra {package}.")
    images = data.TRAIN_IMAGES - settings.data.val_size
    if settings.data.train_size is not None:
        if settings.data.train_size > images:
            raise SettingsError(
                f"data.train_size={settings.data.train_size} is more than the {images} images that "
                f"data.val_size={settings.data.val_size} leaves for training. Make one of them smaller."
            )
        images = settings.data.train_size
    if settings.batch_size > images:
        raise SettingsError(
            f"batch_size={settings.batch_size} is more than the {images} training images. Make it at most {images}."
        )
    return configuration


def is_ddp(configuration: Any) -> bool:
    return configuration["trainer"].get("strategy") == "ddp"


def _check_processes(settings: Settings) -> None:
    """Whether those that the configuration wants are those that were started, and can share the work."""
    trainer, here = settings.trainer, processes.rank_info()
    world = trainer.devices * trainer.num_nodes
    if world > 1 and trainer.strategy != "ddp":
        raise SettingsError(f"trainer.devices={trainer.devices} wants several processes. Take trainer=ddp.")
    if here and (here.local_world, here.world) != (trainer.devices, world):
        raise SettingsError(
            f"{here.world} processes were started, {here.local_world} on a machine, this configuration wants {world}. "
            f"Take trainer=ddp trainer.devices={here.local_world} trainer.num_nodes={here.world // here.local_world}."
        )
    if not here and trainer.num_nodes > 1:
        raise SettingsError(
            f"trainer.num_nodes={trainer.num_nodes} wants torchrun, on each machine. docs/scaling.md says how."
        )
    if remainder := settings.batch_size % world:
        raise SettingsError(
            f"batch_size={settings.batch_size} cannot be shared equally by {world} processes. "
            f"Take {settings.batch_size + world - remainder}."
        )
    if 0 < settings.data.val_size < world:
        raise SettingsError(f"data.val_size={settings.data.val_size} is less than one image for each process.")


def _check_network(settings: Settings) -> None:
    """The network's own arguments, held against the signature in its source, and its input against the data."""
    given = dict(settings.model)
    target, name = given.pop("_target_", None), str(given.pop("name", None))
    if target != "models.create":
        raise SettingsError(f"model._target_={target} is not valid, it should be models.create.")
    try:
        arguments = models.signature(name)
        kinds = {"Literal": Literal, "int": int, "float": float, "bool": bool, "str": str, "tuple": tuple}
        fields = {key: (eval(kind, {"__builtins__": {}}, kinds), value) for key, (kind, value) in arguments.items()}
        network = create_model("Network", __base__=Section, **fields)  # type: ignore[call-overload]
        _validate(network, {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}, "model")
        counts = [key for key in given if arguments[key].annotation in ("int", "int | None") and given[key] is not None]
        check_counts(name, **{key: given[key] for key in counts})
        check_dropout(name, given.get("dropout", 0))
        check_image_size(models.NETWORKS[name].partition(".")[2], settings.image_size)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    expected = {"image_size": settings.image_size, "in_channels": 1, "num_classes": settings.data.num_classes}
    for key, value in expected.items():
        if (found := given.get(key, arguments[key].default)) != value:
            raise SettingsError(f"model.{key}={found} does not fit the data, which have {value}. Leave it out.")


def _validate(section: type[BaseModel], values: dict[str, Any], name: str = "") -> Any:
    try:
        return section.model_validate(values)
    except ValidationError as invalid:
        error = invalid.errors()[0]
    *parents, last = error["loc"]
    key = ".".join(map(str, error["loc"] if not name else (name, *error["loc"])))
    value, expected = error["input"], error["msg"].removeprefix("Input should be ")
    expected = re.sub(r" or instance of \w+", "", expected)
    if error["type"] == "missing":
        raise SettingsError(f"{key} is missing.")
    if error["type"] == "extra_forbidden":
        for parent in parents:
            section = section.model_fields[str(parent)].annotation  # type: ignore[assignment]
        keys = [each for each in section.model_fields if each not in ("target", "partial")]
        raise SettingsError(f"there is no key {key!r}{did_you_mean(str(last), keys)}")
    if error["type"] == "literal_error" and isinstance(value, str):
        valid = expected.replace("'", "").replace(" or ", ", ").split(", ")
        raise SettingsError(f"{key}={value} is not valid{did_you_mean(value, valid)}")
    raise SettingsError(f"{key}={'null' if value is None else value} is not valid, it should be {expected}.")
