"""The command line: what it means in full, and what is wrong with it in one line. Nothing here imports torch."""

import contextlib
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from models import did_you_mean

from . import resuming, run_folder, sweep
from .errors import SettingsError

SWEEP = ("-m", "--multirun")  # Hydra wants it before all overrides


class Command(NamedTuple):
    """What Hydra is to see, and the folder of the sweep if it is one."""

    arguments: list[str]
    sweep: Path | None


def complete(arguments: list[str], runs: Path) -> Command:
    """The command line with the overrides of the run or the sweep that it resumes, and with a sweep's folder."""
    _, unknown = get_args_parser().parse_known_args(arguments)
    if wrong := [argument for argument in unknown if argument.startswith("-") and argument not in SWEEP]:
        raise SettingsError(f"there is no option {wrong[0]}. Write key=value, such as epochs=3; --help shows all keys.")
    is_sweep = any(argument in SWEEP for argument in arguments)
    arguments = allow_network_arguments([argument for argument in arguments if argument not in SWEEP])
    resume, others = _take(arguments, "resume")
    if resume:
        folder = resuming.find(resume, runs)
        merged = resuming.merge_overrides(folder, others)
        if (folder / sweep.RECORD).is_file():
            return _sweep(merged, folder)
        if is_sweep:
            raise SettingsError("resume goes on with one run, it cannot be part of a sweep. Leave -m out.")
        return Command([*merged, f"resume={_quote(folder)}"], None)
    if not is_sweep:
        return Command(arguments, None)
    sweep_dir, _ = _take(arguments, "hydra.sweep.dir")
    run_dir, others = _take(arguments, "run_dir")
    if run_dir and not sweep_dir:
        return _sweep(others, run_folder.require_empty(run_dir))
    return _sweep(arguments, Path(sweep_dir) if sweep_dir else run_folder.make_new(runs, f"sweep_{now()}"))


def _sweep(arguments: list[str], folder: Path) -> Command:
    """With the keys that a job's name need not hold: those that every job has alike, and those that begin it."""
    parser, fixed = OverridesParser.create(), ["model", "data", "seed"]
    for argument in arguments:
        with contextlib.suppress(HydraException):  # an option, or what Hydra itself will refuse
            override = parser.parse_override(argument)
            if not override.is_sweep_override():
                fixed.append(override.key_or_group)
    exclude = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys(fixed))}]"
    return Command(["-m", *arguments, f"hydra.sweep.dir={_quote(folder)}", exclude], folder)


def _take(arguments: list[str], key: str) -> tuple[str, list[str]]:
    """The last value that is given for `key`, and the arguments without it."""
    values = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith(f"{key}=")]
    others = [argument for argument in arguments if not argument.lstrip("+").startswith(f"{key}=")]
    value = values[-1].strip("'\"") if values else ""
    return "" if value == "null" else value, others


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def job_name(config: Any, sets: str = "") -> str:
    """As a folder is called; `sets` is what Hydra says of the overrides by which a sweep's jobs differ."""
    name = f"{config.model.name}_{config.data.name}_seed{config.seed}"
    return name + re.sub(r"[^\w.,=-]+", "", f"_{sets}".replace(":", "-") if sets else "")


def now() -> str:
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"


def allow_network_arguments(arguments: list[str]) -> list[str]:
    """`model.activation=relu` may set what the network's YAML leaves at its default: Hydra wants `++` before that.

    Whether the network has such an argument is checked with all the other values.
    """
    return [f"++{argument}" if re.match(r"model\.\w+=", argument) else argument for argument in arguments]


def explain(error: HydraException | OmegaConfBaseException, configs: Path) -> BaseException:
    """The error that is meant by what Hydra or OmegaConf raised."""
    if isinstance(error, InstantiationException) and error.__cause__:
        cause = error.__cause__
        return SettingsError(str(cause)) if isinstance(cause, ValueError | TypeError | ImportError) else cause
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return SettingsError(f"there is no {group}={option}{did_you_mean(option, error.options or [])}")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None)
    message = str(error)
    if key and ("is not in struct" in message or "is not in struct" in str(cause)):
        parent, _, name = key.rpartition(".")
        section = getattr(cause, "parent_node", None)
        keys = [str(k) for k in section if not str(k).startswith("_")] if parent and section else _keys(configs)
        return SettingsError(f"there is no key {key!r}{did_you_mean(name, keys)}")
    if isinstance(error, OverrideParseException):
        return SettingsError(f"{error.override!r} cannot be read. Write key=value; quote values with spaces or commas.")
    if message.startswith("Ambiguous value"):
        return SettingsError(f"{message.splitlines()[0]}: several values make a sweep, for which write -m first.")
    return SettingsError(f"{message.splitlines()[0].rstrip('.')}. --help shows what can be set.")


def _keys(configs: Path) -> list[str]:
    """The groups and the keys at the top level."""
    groups = [path.name for path in sorted(configs.iterdir()) if path.is_dir()]
    top = yaml.safe_load((configs / "train.yaml").read_text(encoding="utf-8"))
    return groups + [key for key in top if key not in ("defaults", "hydra")]
