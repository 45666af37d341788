"""What Hydra says of a wrong command, in one line with the nearest valid name. Nothing here imports torch."""

import re
from pathlib import Path

import yaml
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from models import did_you_mean

from . import resuming
from .errors import SettingsError


def complete(arguments: list[str], runs: Path) -> list[str]:
    """The command line that Hydra is to see: with a run's own overrides where one is resumed."""
    arguments = allow_network_arguments(arguments)
    wanted = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith("resume=")]
    if not wanted or wanted[-1] in ("", "null"):
        return arguments
    if "-m" in arguments or "--multirun" in arguments:
        raise SettingsError("resume goes on with one run, it cannot be part of a sweep. Leave -m out.")
    folder = resuming.find(wanted[-1], runs)
    given = [argument for argument in arguments if not argument.lstrip("+").startswith("resume=")]
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return [*resuming.merge_overrides(folder, given), f"resume='{quoted}'"]


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
