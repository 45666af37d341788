"""Read what a search tries: its keys, and the range or the choices of each. Check all of it before anything starts."""

import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, Field, model_validator

from models import WeightsError

from . import settings
from .configuration import Configuration, composed, plain
from .errors import SettingsError, shown
from .overrides import complete, quote
from .resume import CONFIGS, MUTABLE_KEYS, flatten, key_of

SPACES = CONFIGS / "search.yaml"
FAILED = "failed"  # the attribute of a trial that says why it has no accuracy
ALL_NETWORKS = "all"  # its section for each of them
NOT_SEARCHED = (*MUTABLE_KEYS, "trainer", "threads", "recipe", "weights", "hydra")  # the same for all trials
NAMED = ("model", "data", "optimizer", "scheduler")  # groups that every recipe names
Scalar = bool | int | float | str | None


class Numbers(settings.Section):
    """The numbers from `low` to `high`: whole ones if both are, and at distances of `step` if there is one."""

    low: int | float
    high: int | float
    step: int | float | None = Field(default=None, gt=0)
    log: bool = False  # evenly on a logarithmic scale

    @model_validator(mode="after")
    def check(self) -> "Numbers":
        if self.low >= self.high:
            raise ValueError("a range with low below high")
        if self.log and (self.low <= 0 or self.step):
            raise ValueError("a range above 0, without a step, for log: true")
        if self.step and not self._is_step(self.high):
            raise ValueError(f"a range of whole steps of {self.step}")
        if self.is_whole and isinstance(self.step, float):
            raise ValueError("a range with a whole step, or with a decimal point in low or high")
        return self

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> list[Scalar]:
        return [self.low, self.high]

    def holds(self, value: Any) -> bool:
        """Return whether a search could try this value."""
        if type(value) not in ((int,) if self.is_whole else (int, float)):
            return False
        return self.low <= value <= self.high and (not self.step or self._is_step(value))

    def _is_step(self, value: float) -> bool:
        steps = (value - self.low) / (self.step or 1)
        return abs(steps - round(steps)) < 1e-9


def as_scalars(values: list[Any]) -> list[Scalar]:
    return [as_scalar(value) for value in values]


def as_scalar(value: Any) -> Scalar:
    """Return a list such as [512, 256] as Hydra reads it, "[512,256]": Optuna stores no lists."""
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value


class Choices(settings.Section):
    choices: Annotated[list[Any], Field(min_length=2), AfterValidator(as_scalars)]

    @property
    def ends(self) -> list[Scalar]:
        return self.choices

    def holds(self, value: Any) -> bool:
        return as_scalar(value) in self.choices


Range = Numbers | Choices


class Plan:
    """Describe a search: what all its trials have in common, and what each of them may choose.

    `overrides` are those of train.py, for all trials. `file` has the space, else it is that of the network in
    configs/search.yaml; a key that `overrides` give is not searched. Raises SettingsError for what is wrong with them.
    """

    def __init__(self, overrides: list[str], file: Path | None, runs: Path) -> None:
        for each in overrides:
            _require_fixed(each)
        self.overrides = complete(overrides, runs).arguments
        self.base = self.configure({})
        config = self.base.config
        if settings.is_ddp(config):
            raise SettingsError("each trial of a search is one process. Leave trainer=ddp out, and see --jobs.")
        if config.data.val_size == 0:
            raise SettingsError("a search needs validation, and data.val_size=0 leaves none. Leave it out.")
        space = _read(file) if file else _default(config)
        for key in space:
            _require_searchable(key, own_data=config.data.format != "bundled")
        given = {key_of(override) for override in self.overrides}
        self.space = {key: each for key, each in space.items() if key.lstrip("+") not in given}
        if not self.space:
            raise SettingsError("nothing is left to search: the command sets every key of the space. Leave one out.")
        self.corners = self._corners()

    def of_trial(self, values: dict[str, Any], **others: Any) -> Configuration:
        """Return the configuration of a trial of a study. Raises WeightsError for values that no search would try."""
        for key, value in values.items():
            if key not in self.space or not self.space[key].holds(value):
                raise WeightsError(f"the study holds {key}={value}, which is not in the space. Name another --folder.")
        return self.configure({**values, **others})

    def configure(self, values: dict[str, Any]) -> Configuration:
        """Return the configuration of a run with these values."""
        return composed([*self.overrides, *(f"{key}={_text(value)}" for key, value in values.items())])

    def _corners(self) -> list[DictConfig]:
        """Return configurations in which each end of each range and each choice occurs."""
        count = max(len(each.ends) for each in self.space.values())
        ends = [{key: each.ends[min(i, len(each.ends) - 1)] for key, each in self.space.items()} for i in range(count)]
        return [self.configure(values).config for values in ends]

    def defaults(self) -> dict[str, Any] | None:
        """Return the values of a run that searches nothing; None if one of them lies outside of its range."""
        found = {}
        for key, each in self.space.items():
            value = self.base.options[key] if is_group(key) else _select(self.base.config, key)
            if not each.holds(value):
                return None
            found[key] = as_scalar(value)
        return found

    def record(self) -> dict[str, Any]:
        """Return what a search must have in common with its continuation."""
        space = {f"the range of {key}": each.model_dump(exclude_defaults=True) for key, each in self.space.items()}
        kept = {key: value for key, value in plain(self.base.config).items() if key not in (*MUTABLE_KEYS, "threads")}
        return {**flatten(kept), **space}


def as_recipe(configuration: Configuration) -> str:
    """Return the YAML of a recipe, without a header, which makes this configuration of the defaults."""
    chosen, default = configuration.options, composed([]).options
    others = [group for group in chosen if group not in (*NAMED, "recipe") and chosen[group] != default[group]]
    options = {group: chosen[group] for group in (*NAMED, *others)}
    of_options = composed([f"{group}={each}" for group, each in options.items()], check=False).config
    changed = _difference(plain(configuration.config, resolve=False), plain(of_options, resolve=False))
    defaults = [{f"override /{group}": each} for group, each in options.items()]
    return yaml.safe_dump({"defaults": defaults, **changed}, sort_keys=False, width=100)


def is_group(key: str) -> bool:
    return (CONFIGS / key).is_dir()


def _require_fixed(override: str) -> None:
    """Raise SettingsError for an override that no search can have, or that has several values."""
    key = key_of(override)
    if key.partition(".")[0] in MUTABLE_KEYS or key.startswith("hydra"):
        raise SettingsError(f"{key}= is for train.py: a search has one folder, that of --folder. Leave it out.")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        raise SettingsError(f"{override!r} cannot be read. Write key=value, such as epochs=3.") from None
    if parsed.is_sweep_override():
        raise SettingsError(f"{override}: all trials have one value. A range or choices belong in a file, see --space.")


def _require_searchable(key: str, own_data: bool) -> None:
    first = key.lstrip("+").partition(".")[0]
    if first in NOT_SEARCHED:
        raise SettingsError(f"{key} cannot be searched: it is the same for all trials. Take it out of the space.")
    if (first == "data" and not key.startswith("data.augment.")) or (first == "image_size" and own_data):
        raise SettingsError(f"{key} cannot be searched: all trials have the same data. Take it out of the space.")


def _default(config: DictConfig) -> dict[str, Range]:
    """Return the space of a network, without keys that the chosen options lack."""
    sections = OmegaConf.to_container(OmegaConf.load(SPACES))
    assert isinstance(sections, dict)
    found = sections[ALL_NETWORKS] | sections.get(config.model.name, {})
    there = flatten(plain(config)).keys()
    return {key: _range(key, each) for key, each in found.items() if key in there or is_group(key)}


def _read(file: Path) -> dict[str, Range]:
    """Read a space of the user's. Raises SettingsError for a file that is none."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(file))
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"the space {shown(file)} cannot be read ({reason}). See configs/search.yaml.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"the space {shown(file)} holds no keys. See configs/search.yaml for what it may hold.")
    return {str(key): _range(str(key), each) for key, each in content.items()}


def _range(key: str, given: Any) -> Range:
    if not isinstance(given, dict):
        raise SettingsError(f"{key}: {given} is no range. Write {key}: {{low: 1, high: 2}}, or {{choices: [1, 2]}}.")
    return settings.validate(Choices if "choices" in given else Numbers, given, key)


def _select(config: DictConfig, key: str) -> Any:
    value = OmegaConf.select(config, key)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _text(value: Any) -> str:
    """Write a value as an override has it, a number in 12 digits: 0.3, where steps of 0.1 add up to a little more."""
    if isinstance(value, str):
        return value if value.startswith("[") else quote(value)
    if isinstance(value, float):
        value = float(f"{value:.12g}")
    return json.dumps(value)


def _difference(these: dict[str, Any], those: dict[str, Any]) -> dict[str, Any]:
    """Return the part of `these` that `those` lack or have otherwise."""
    found = {}
    for key, value in these.items():
        other = those.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := _difference(value, other):
                found[key] = inner
        elif value != other or key not in those:
            found[key] = value
    return found
