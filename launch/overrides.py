"""Complete the overrides of train.py's command line, and explain in one line what is wrong with them."""

import json
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data import DATASETS
from models import cards, did_you_mean

from . import processes, sweep
from .errors import SettingsError
from .resume import find, key_of, merge_overrides, refuse_foreign
from .run_dir import JOB_PREFIX, is_sweep, now, require_empty
from .settings import OF_THE_ZOO, unknown_key

PRINTS = ("help", "hydra_help", "version", "cfg", "info", "shell_completion")  # what Hydra prints instead of running


class Command(NamedTuple):
    """Hold the arguments for Hydra, and the sweep if it is one."""

    arguments: list[str]
    sweep: sweep.Sweep | None


def complete(arguments: list[str], runs: Path) -> Command:
    """Add to a command line the overrides of the run or sweep that it resumes, and the folder of a sweep."""
    parsed = parse(arguments)
    overrides = parsed.overrides
    options = [argument for argument in arguments if argument not in [*overrides, "-m", "--multirun"]]
    for key, instead in {"hydra.mode": "write -m for a sweep", "hydra.sweep.dir": "run_dir= names its folder"}.items():
        if _value(key, overrides) is not None:
            raise SettingsError(f"{key} cannot be set: {instead}.")
    if any(getattr(parsed, option, None) for option in PRINTS):
        return Command([*options, *overrides], None)
    resumed = _value("resume", overrides)
    if (weights := _value("weights", overrides)) and not resumed:
        overrides = _network_of(weights, overrides)
    overrides = _name_own_data(overrides)
    if not resumed:  # a record has chosen
        overrides = _choose_own(overrides)
    others = [override for override in overrides if key_of(override) not in ("resume", "run_dir")]
    if resumed:
        folder = find(resumed, runs)
        if is_sweep(folder):
            _refuse_torchrun()
            return _in_sweep(options, sweep.resume(folder, others))
        if parsed.multirun:
            raise SettingsError("resume continues one run, it cannot be part of a sweep. Leave -m out.")
        return Command([*options, *merge_overrides(folder, others), f"resume={quote(folder)}"], None)
    if parsed.multirun:
        _refuse_torchrun()
        run_dir = _value("run_dir", overrides)
        folder = require_empty(run_dir) if run_dir else runs / f"sweep_{now()}"
        return _in_sweep(options, sweep.start(folder, others, may_rename=not run_dir))
    return Command([*options, *overrides], None)


def parse(arguments: list[str]) -> Namespace:
    """Parse Hydra's own flags. Raises SettingsError for one that it does not know."""
    parser = get_args_parser()
    parser.error = _refuse
    return parser.parse_intermixed_args(arguments)


def _refuse(message: str) -> NoReturn:
    raise SettingsError(f"{message}. Write key=value, such as epochs=3; --help shows all keys.")


def _refuse_torchrun() -> None:
    if processes.rank_info():
        raise SettingsError(
            "torchrun starts one run. Start a sweep without it: with trainer=ddp each job starts its own processes."
        )


def _in_sweep(options: list[str], started: sweep.Sweep) -> Command:
    fixed = [key for key in map(key_of, started.overrides) if key not in started.named_by]
    exclude = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys([*fixed, *JOB_PREFIX]))}]"
    directory = f"hydra.sweep.dir={quote(started.folder)}"
    return Command([*options, "-m", *started.overrides, directory, exclude], started)


def _value(key: str, overrides: list[str]) -> str | None:
    """Return what is given for `key`, as Hydra reads it."""
    given = [override for override in overrides if key_of(override) == key]
    if not given:
        return None
    try:
        override = OverridesParser.create().parse_override(given[-1])
    except HydraException:
        return given[-1].partition("=")[2]
    if override.is_sweep_override():
        raise SettingsError(f"{given[-1]}: {key} has one value, also in a sweep. Quote a comma that belongs to it.")
    value = override.value()
    return None if value is None else str(value)


def quote(path: Path | str) -> str:
    """Quote a path or a name for Hydra if it needs that. A backslash is an escape only in front of a quote."""
    if re.fullmatch(r"/[\w/.-]+|(?!(null|true|false|nan|inf)$)[a-z]\w*", str(path), re.ASCII | re.IGNORECASE):
        return str(path)
    escaped = re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), str(path))
    return f"'{escaped}'"


def _network_of(weights: str, overrides: list[str]) -> list[str]:
    """Return the overrides with an absolute path of the weights and, unless they choose others, with their network and
    the data of their training.
    """
    file = cards.read(weights)
    if weights not in cards.published():
        overrides = [each for each in overrides if key_of(each) != "weights"]
        overrides.append(f"weights={quote(file.path.absolute())}")
    given = {key_of(override) for override in overrides}
    if "." in (network := file.card["network"]) and not given & {"model", "model._target_"}:
        raise SettingsError(f"{file.path} holds a network of your own. Name it: model._target_={network}.")
    if not given & {"data", "data._target_", "recipe"}:
        overrides = [*refuse_foreign(_data_of(file), file.path), *overrides]
    if given & {"model", "model._target_", "recipe"}:
        return overrides
    arguments = file.card["arguments"]
    own = {key: value for key, value in arguments.items() if key not in ("in_channels", "num_classes", "image_size")}
    chosen = [f"model={file.card['network']}", *(f"model.{key}={json.dumps(value)}" for key, value in own.items())]
    return [*refuse_foreign(chosen, file.path), f"image_size={arguments['image_size']}", *overrides]


def _data_of(file: cards.WeightsFile) -> list[str]:
    """Return the overrides that choose the data of a training. Raises SettingsError if they are not available."""
    name = file.card["data"]
    if cards.is_bundled(file.card):
        if name in DATASETS:
            return [f"data={name}"]
    elif (arguments := cards.data_arguments(file.card))["format"] != "own":
        kind, root = arguments.pop("format"), arguments.pop("root")
        arguments["name"] = quote(name)
        rest = [f"data.{key}={'null' if value is None else value}" for key, value in arguments.items()]
        return [f"data={kind}", f"data.root={quote(root)}", *rest]  # in the same splits: no image is for both
    raise SettingsError(f"{file.path} was trained on {name!r}, which is not available. Name data with data=.")


def _name_own_data(overrides: list[str]) -> list[str]:
    """Return the overrides with an absolute path of the data and, for own data without one, a name."""
    given = [each for each in overrides if key_of(each) == "data"]
    options = set(given[-1].partition("=")[2].split(",")) if given else set[str]()
    own = bool(options & {"folder", "arrays"})
    if own and len(options) > 1:
        raise SettingsError(f"{given[-1]}: one sweep has either bundled data or own data. Start one for each.")
    root = _value("data.root", overrides)
    if own and not root:
        raise SettingsError(f"{given[-1]} needs data.root, the folder or .npz file of the images.")
    if not root:
        return overrides
    path = Path(os.path.expanduser(root)).absolute()  # noqa: PTH111 Path's raises for an unknown ~user
    named = [f"data.name={quote(path.stem)}"] if own and not _value("data.name", overrides) else []
    return [*(each for each in overrides if key_of(each) != "data.root"), f"data.root={quote(path)}", *named]


def _choose_own(overrides: list[str]) -> list[str]:
    """Return the overrides with `model=own`, `data=own` or `loss=own` for what is in a module of the user's own."""
    given = {key_of(each) for each in overrides}
    for group, example in (("model", "my_networks.Tiny"), ("data", "my_data.load"), ("loss", "my_losses.Hinge")):
        target = _value(f"{group}._target_", overrides)
        if not target and f"{group}=own" in overrides:
            raise SettingsError(f"{group}=own needs {group}._target_, such as {example}.")
        if not target or target == OF_THE_ZOO:
            continue
        option = [] if given & {group, "recipe"} else [f"{group}=own"]
        module, _, function = target.rpartition(".")
        names = {"model": function, "data": module}
        named = [f"{group}.name={quote(names[group])}"] if group in names and f"{group}.name" not in given else []
        overrides = [*option, *overrides, *named]
    return overrides


def explain(error: HydraException | OmegaConfBaseException, configs: Path) -> BaseException:
    """Return the error that explains in one line what Hydra or OmegaConf raised."""
    if isinstance(error, InstantiationException) and error.__cause__:
        cause = error.__cause__
        return SettingsError(str(cause)) if isinstance(cause, ValueError | TypeError | ImportError) else cause
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        file = error.missing_cfg_file
        if "/" not in file:
            return SettingsError(f"there is no configuration {file!r}. Leave --config-name out; recipe= chooses one.")
        group, _, option = file.rpartition("/") if file.startswith("hydra/") else file.partition("/")
        if group == "hydra/launcher" and (extra := option.partition("_")[0]) in ("joblib", "ray", "submitit"):
            return SettingsError(f"{group}={option} needs a package. Run it with: uv run --extra {extra} train.py.")
        options = error.options or [path.stem for path in sorted((configs / group).glob("*.yaml"))]
        return SettingsError(f"there is no {group}={option}{did_you_mean(option, options)}")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None)
    message = str(error)
    first_line = (message.splitlines() or [type(error).__name__])[0]
    if key and ("is not in struct" in message or "is not in struct" in str(cause)):
        parent, _, name = key.rpartition(".")
        section: Any = getattr(cause, "parent_node", None)
        keys = [str(k) for k in section if not str(k).startswith("_")] if parent and section else _keys(configs)
        if parent in ("model", "data", "loss") and "." in str(section.get("_target_", "")):
            known = ("models.", "data.", "training.")
            if not str(section["_target_"]).startswith(known):
                return SettingsError(f"there is no key {key!r}. An argument of your own needs a plus: +{key}=.")
        if parent in ("callbacks", "logger") and (configs / parent / f"{name}.yaml").is_file():
            return SettingsError(f"there is no key {key!r} without {parent}={name}. Add that.")
        for group in section if not parent and section else ():  # lr=0.1 is meant to be optimizer.lr=0.1
            if OmegaConf.is_dict(section[group]) and name in section[group]:
                return SettingsError(f"there is no key {key!r}, did you mean '{group}.{name}'?")
        return unknown_key(key, keys)
    if isinstance(error, OverrideParseException):
        return SettingsError(f"{error.override!r} cannot be read. Write key=value; quote values with spaces or commas.")
    if message.startswith("Ambiguous value"):
        return SettingsError(f"{first_line}: several values make a sweep, which needs -m.")
    return SettingsError(f"{first_line.rstrip('.')}. --help shows what can be set.")


def _keys(configs: Path) -> list[str]:
    """Return the groups and the keys at the top level."""
    groups = [path.name for path in sorted(configs.iterdir()) if path.is_dir()]
    top = yaml.safe_load((configs / "train.yaml").read_text(encoding="utf-8"))
    return list(dict.fromkeys(groups + [key for key in top if key not in ("defaults", "hydra")]))
