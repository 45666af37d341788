"""Check a configuration: every key is known, every value has its type and its range.

The arguments of networks, schedules and augmentation are checked by `check_arguments`, once torch is imported.
"""

import copy
import inspect
import re
import typing
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

import data
import models
from data.datasets import BUNDLED, BUNDLED_VAL_SIZE
from data.sizes import count_images
from models import did_you_mean

from . import processes
from .errors import SettingsError


class Section(BaseModel):
    """Keys that are not listed are refused; "1" is no number and 1.5 no integer."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Factory(Section):
    """A section with a `_target_`, which checks the arguments that are not listed here."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def check_image_size(size: Any) -> Any:
    """Raise ValueError unless it is a number of pixels, or a list of two: height and width."""
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(type(side) is int and side > 0 for side in sides):
        raise ValueError("a number of pixels such as 32, or [height,width]")
    return size


ImageSize = Annotated[Any, AfterValidator(check_image_size)]


def check_size(size: int | float | None) -> int | float | None:
    """Raise ValueError unless it is a number of images, or a share of them below 1."""
    if size is not None and not (0 < size < 1 if isinstance(size, float) else size >= 0):
        raise ValueError("a number of images such as 500, or a share of them such as 0.1")
    return size


Size = Annotated[int | float | None, AfterValidator(check_size)]
OF_THE_ZOO = "models.create"  # the target of networks that are not the user's own
DOTTED = r"^\w+(\.\w+)+$"  # a module and a name in it


class Data(Factory):
    target: str = Field(alias="_target_", pattern=DOTTED)
    format: Literal["bundled", "folder", "arrays", "own"]
    name: str = Field(min_length=1)
    root: str | None = Field(min_length=1)
    train_size: Size
    val_size: Size
    test_size: Size
    split_seed: int = 0
    num_classes: int | None = Field(ge=2)  # this and the rest: null until own data have been read
    channels: Literal[1, 3] | None
    image_size: ImageSize | None
    sha256: str | None = None
    augment: dict[str, Annotated[int | float, Field(ge=0)]]


class Loss(Factory):
    target: str = Field(alias="_target_", pattern=DOTTED)
    l1: float = Field(ge=0)


Decay = Annotated[float, Field(ge=0, lt=1)]  # the fraction that is kept at a step


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


class Scheduler(Factory):
    target: str = Field(alias="_target_", pattern=r"^training\.schedules\.\w+$")
    partial: Literal[True] = Field(alias="_partial_")
    epochs: int | None = None  # of a schedule that depends on them
    every: int = 1


class Trainer(Section):
    target: Literal["lightning.Trainer"] = Field(alias="_target_")
    accelerator: Literal["auto", "cpu", "cuda"]
    strategy: Literal["auto", "ddp"] = "auto"
    devices: int = Field(ge=1)
    num_nodes: int = Field(default=1, ge=1)


class Logger(Factory):
    target: str = Field(alias="_target_", pattern=r"^(lightning\.pytorch|training)\.loggers\.\w+$")


class Callback(Factory):
    target: str = Field(alias="_target_", pattern=DOTTED)


class Checkpoint(Section):
    every_minutes: float = Field(gt=0)


class Settings(Section):
    seed: int = Field(ge=0, lt=2**32)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    image_size: ImageSize | None
    gradient_clip: float | None = Field(gt=0)
    ema: Decay | None
    select: Literal["last", "best"]
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    threads: Literal["auto"] | Annotated[int, Field(ge=1)]
    compile: bool
    weights: str | None = Field(min_length=1)
    freeze: list[str]
    run_dir: str | None = Field(min_length=1)
    resume: str | None
    find_lr: bool
    report: bool
    checkpoint: Checkpoint
    model: dict[str, Any]
    data: Data
    loss: Loss
    optimizer: Optimizer
    scheduler: Scheduler
    trainer: Trainer
    logger: dict[str, Logger]
    callbacks: dict[str, Callback]


IN_PLACE_OF = {  # keys of lightning.Trainer, and what is here in their place
    "trainer.max_epochs": "epochs= is the number of epochs",
    "trainer.max_steps": "epochs= is the length of a run, and data.train_size= of an epoch",
    "trainer.max_time": "callbacks=timer callbacks.timer.duration=00:01:00:00 ends a run after an hour",
    "trainer.limit_train_batches": "data.train_size=0.1 trains on a share of the images",
    "trainer.limit_val_batches": "data.val_size=1000 validates on fewer images",
    "trainer.limit_test_batches": "data.test_size=1000 tests on fewer images",
    "trainer.overfit_batches": "data.train_size=1000 trains on fewer images",
    "trainer.fast_dev_run": "epochs=1 data.train_size=1000 data.test_size=1000 is a quick trial",
    "trainer.accumulate_grad_batches": "batch_size= is the number of images of a step",
    "trainer.gradient_clip_val": "gradient_clip= is the largest norm of a gradient",
    "trainer.precision": "precision= is a key of its own",
    "trainer.check_val_every_n_epoch": "every epoch is validated, so that each row of metrics.csv is complete",
    "trainer.val_check_interval": "every epoch is validated, at its end",
    "trainer.log_every_n_steps": "loggers get the figures of every epoch; callbacks log every 50th step",
    "trainer.deterministic": "on a CPU equal seeds give equal bits",
    "trainer.callbacks": "callbacks= is a group of its own",
    "trainer.logger": "logger= is a group of its own",
    "trainer.default_root_dir": "run_dir= is the folder of the run",
    "trainer.enable_checkpointing": "every run can be resumed, checkpoint.every_minutes= says how often it saves",
    "trainer.enable_progress_bar": "the bar is drawn on a terminal alone",
}
LOGGER_PACKAGES = {  # each is an extra of its own name
    "lightning.pytorch.loggers.TensorBoardLogger": "tensorboard",
    "lightning.pytorch.loggers.WandbLogger": "wandb",
    "lightning.pytorch.loggers.MLFlowLogger": "mlflow",
}
MONITORED = ["val/loss", "val/accuracy", "train/loss", "train/accuracy"]  # after every epoch
NEEDS_A_LOGGER = {f"lightning.pytorch.callbacks.{name}" for name in ("LearningRateMonitor", "DeviceStatsMonitor")}


def check(configuration: Any) -> None:
    """Raise SettingsError for the first value that is wrong, or does not fit another one."""
    settings = validate(Settings, configuration)
    if settings.precision == "16-mixed" and settings.gradient_clip is not None and settings.optimizer.fused:
        raise SettingsError(
            "gradient_clip does not go with precision=16-mixed and a fused optimizer, which unscales gradients itself. "
            "Take precision=bf16-mixed, or optimizer.fused=false."
        )
    if settings.select == "best" and settings.data.val_size == 0:
        raise SettingsError("select=best needs validation, and data.val_size=0 leaves none. Take select=last.")
    _check_schedule(settings)
    if settings.data.format != "own" and (unknown := list(settings.data.model_extra or ())):
        raise unknown_key(f"data.{unknown[0]}", list(Data.model_fields))
    if settings.data.format == "bundled":
        _check_bundled_data(settings)
    _check_network(settings)
    _check_processes(settings)
    packages = {name: LOGGER_PACKAGES.get(logger.target) for name, logger in settings.logger.items()}
    if missing := {name: package for name, package in packages.items() if package and not find_spec(package)}:
        extras = "".join(f" --extra {package}" for package in missing.values())
        raise SettingsError(f"logger={','.join(missing)} needs a package. Run it with: uv run{extras} train.py.")
    if settings.find_lr and (settings.resume or is_ddp(configuration)):
        raise SettingsError("find_lr=true starts a test of its own, in one process. Leave resume and trainer=ddp out.")
    _check_callbacks(settings)


def unknown_key(key: str, keys: list[str]) -> SettingsError:
    """Return the error for a key that is none of `keys` in its section."""
    if instead := IN_PLACE_OF.get(key):
        return SettingsError(f"there is no key {key!r}: {instead}.")
    return SettingsError(f"there is no key {key!r}{did_you_mean(key.rpartition('.')[2], keys)}")


def check_arguments(section: str, function: Callable[..., Any], given: dict[str, Any], *supplied: str) -> None:
    """Check the arguments of a section against the annotations of the class or function that it configures.

    `supplied` names the parameters that do not come from the configuration. Raises SettingsError for an argument that
    is unknown or missing, and for a value of another type or outside its annotated range.
    """
    annotated = function.__init__ if isinstance(function, type) else function
    hints = typing.get_type_hints(annotated, include_extras=True)
    parameters = [name for name in inspect.signature(function).parameters if name not in supplied]
    fields: dict[str, Any] = {name: (hints[name], ...) for name in parameters}
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    validate(create_model("Arguments", __base__=Section, **fields), arguments, section)


def replace(config: DictConfig, changes: dict[str, Any]) -> DictConfig:
    """Return a read-only copy of a configuration with other values at these keys, such as `trainer.devices`."""
    changed = copy.deepcopy(config)
    OmegaConf.set_readonly(changed, False)
    for key, value in changes.items():
        OmegaConf.update(changed, key, value)
    OmegaConf.set_readonly(changed, True)
    return changed


def is_ddp(configuration: Any) -> bool:
    return configuration["trainer"].get("strategy") == "ddp"


def _check_callbacks(settings: Settings) -> None:
    """Check what Lightning's callbacks need, which would otherwise fail after the first epoch."""
    for name, callback in settings.callbacks.items():
        if callback.target in NEEDS_A_LOGGER and not settings.logger:
            raise SettingsError(f"callbacks.{name} needs a logger to write to. Add one, such as logger=csv.")
        if callback.target == "lightning.pytorch.callbacks.DeviceStatsMonitor" and not find_spec("psutil"):
            raise SettingsError(
                f"callbacks.{name} needs the package psutil. Run it with: uv run --with psutil train.py."
            )
        if callback.target == "lightning.pytorch.callbacks.EarlyStopping":
            options = callback.model_extra or {}
            monitor = str(options.get("monitor"))
            own = [
                each for each in settings.callbacks.values() if not each.target.startswith(("lightning.", "training."))
            ]
            if monitor not in MONITORED and not own:  # which may log others
                raise SettingsError(
                    f"callbacks.{name}.monitor={monitor} is not valid{did_you_mean(monitor, MONITORED)}"
                )
            best, other = ("max", "min") if monitor.endswith("/accuracy") else ("min", "max")
            if monitor in MONITORED and options.get("mode", "min") == other:
                raise SettingsError(
                    f"callbacks.{name}.mode={other} would end the training as {monitor} gets better. Take mode={best}."
                )
            if monitor.startswith("val/") and settings.data.val_size == 0:
                raise SettingsError(f"callbacks.{name} needs validation, and data.val_size=0 leaves none.")


def _check_schedule(settings: Settings) -> None:
    schedule = settings.scheduler
    if schedule.epochs not in (None, settings.epochs):
        raise SettingsError(f"scheduler.epochs={schedule.epochs} differs from epochs={settings.epochs}. Leave it out.")
    if schedule.every > (reached := max(settings.epochs - 1, 1)):
        raise SettingsError(
            f"scheduler.every={schedule.every} is not reached before the end of epochs={settings.epochs}. "
            f"Make it at most {reached}, or take scheduler=constant."
        )


def _check_bundled_data(settings: Settings) -> None:
    chosen = settings.data
    if chosen.name not in data.DATASETS:
        raise SettingsError(f"there is no data set {chosen.name!r}{did_you_mean(chosen.name, data.DATASETS)}")
    info = data.DATASETS[chosen.name]
    known = {"num_classes": len(info.classes), "channels": info.channels, "image_size": data.IMAGE_SIZE}
    for key, value in known.items():
        if (given := getattr(chosen, key)) != value:
            raise SettingsError(f"data.{key}={given} is not valid: {chosen.name} has {value}. Leave it out.")
    val_size = BUNDLED_VAL_SIZE if chosen.val_size is None else chosen.val_size
    try:
        count = count_images(BUNDLED, chosen.train_size, val_size, chosen.test_size)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    check_batch_size(settings.batch_size, count.train)


def check_batch_size(batch_size: int, images: int) -> None:
    """Raise SettingsError if there are fewer training images than a batch has."""
    if batch_size > images:
        raise SettingsError(f"batch_size={batch_size} is more than the {images} training images. Make it smaller.")


def _check_network(settings: Settings) -> None:
    """Check which network it is, and that it reads the images and has the classes of the data."""
    model, name = settings.model, str(settings.model.get("name"))
    if not re.match(DOTTED, target := str(model.get("_target_"))):
        raise SettingsError(f"model._target_={target} is not valid, it should be a class such as my_networks.Tiny.")
    if target == OF_THE_ZOO and name not in models.names():
        raise SettingsError(f"there is no network {name!r}{did_you_mean(name, models.names())}")
    chosen = settings.data
    expected = {"image_size": settings.image_size, "in_channels": chosen.channels, "num_classes": chosen.num_classes}
    for key, value in expected.items():
        if key not in model:
            raise SettingsError(f"model.{key} is missing.")
        if model[key] != value:
            raise SettingsError(f"model.{key}={model[key]} does not fit the data, which have {value}. Leave it out.")


def _check_processes(settings: Settings) -> None:
    """Check that the processes of the configuration are those that were started, and can share the work."""
    trainer, ranks = settings.trainer, processes.rank_info()
    world = trainer.devices * trainer.num_nodes
    if world > 1 and trainer.strategy != "ddp":
        raise SettingsError(f"trainer.devices={trainer.devices} needs several processes. Take trainer=ddp.")
    if ranks and (ranks.local_world, ranks.world) != (trainer.devices, world):
        nodes = ranks.world // ranks.local_world
        raise SettingsError(
            f"{ranks.world} processes were started, {ranks.local_world} on each machine, the configuration has {world}."
            f" Take trainer=ddp trainer.devices={ranks.local_world} trainer.num_nodes={nodes}."
        )
    if not ranks and trainer.num_nodes > 1:
        raise SettingsError(
            f"trainer.num_nodes={trainer.num_nodes} needs torchrun on each machine. docs/scaling.md says how."
        )
    if remainder := settings.batch_size % world:
        raise SettingsError(
            f"batch_size={settings.batch_size} cannot be divided equally among {world} processes. "
            f"Take {settings.batch_size + world - remainder}."
        )
    if 0 < (settings.data.val_size or 0) < world and isinstance(settings.data.val_size, int):
        raise SettingsError(f"data.val_size={settings.data.val_size} is less than one image for each process.")


def validate(section: type[BaseModel], values: dict[str, Any], name: str = "") -> Any:
    """Return the validated section. Raises SettingsError for the first value that is wrong, with its key."""
    try:
        return section.model_validate(values)
    except ValidationError as invalid:
        error = invalid.errors()[0]
    *parents, _ = error["loc"] or [name]
    key = ".".join(str(part) for part in ([name] if name else []) + list(error["loc"]) if part not in ("int", "float"))
    value, expected = error["input"], error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    expected = re.sub(r" or instance of \w+", "", expected)
    if error["type"] == "string_pattern_mismatch" and DOTTED in expected:
        expected = "a module and a name in it, such as my_networks.Tiny"
    if error["type"] == "missing":
        raise SettingsError(f"{key} is missing.")
    if error["type"] == "extra_forbidden":
        for parent in parents:
            section = section.model_fields[str(parent)].annotation  # type: ignore[assignment]
        keys = [each for each in section.model_fields if each not in ("target", "partial")]
        raise unknown_key(key, keys)
    if error["type"] == "literal_error" and isinstance(value, str):
        valid = expected.replace("'", "").replace(" or ", ", ").split(", ")
        raise SettingsError(f"{key}={value} is not valid{did_you_mean(value, valid)}")
    raise SettingsError(f"{key}={'null' if value is None else value} is not valid, it should be {expected}.")
