"""Resume a stopped run: find its folder, take up its overrides, and refuse what would make it another run.

A record is data: its folder may come from anywhere. What it holds can choose among the options and set the keys of this
project; it cannot name other code, nor set anything of Hydra's.
"""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString
from hydra.errors import HydraException

from models import WeightsError

from .errors import SettingsError, shown
from .run_dir import is_run, is_sweep

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

# These may differ from the recorded configuration.
MUTABLE_KEYS = ("run_dir", "resume", "find_lr", "report", "logger", "checkpoint")
# These may differ, too: they change rounding alone.
PROCESS_KEYS = ("threads", "trainer.strategy", "trainer.devices", "trainer.num_nodes")
AUTO_KEYS = ("trainer.accelerator", "precision")  # recorded as what "auto" was resolved to
NAMES_OF_A_LOGGER = ("project", "experiment_name", "run_name", "tags", "group")  # all that a record may set in one
OWN_DATA_KEYS = ("num_classes", "channels", "image_size", "in_channels", "sha256")  # recorded as what own data have


def find(wanted: str, runs: Path) -> Path:
    """Return the folder of the run or sweep that `resume=` names; `last` is the one written to most recently."""
    folder = Path(wanted).expanduser().absolute()
    if wanted == "last":
        written = [file for name in ("config.yaml", "metrics.json") for file in runs.glob(f"**/{name}")]
        if not written:
            raise SettingsError(f"there is no run in {runs} to resume.")
        folder = max(written, key=lambda file: file.stat().st_mtime).parent
        if is_sweep(folder.parent):
            folder = folder.parent
    if not is_run(folder) and not is_sweep(folder):
        raise SettingsError(f"resume={wanted} is not a run folder: there is no config.yaml with its .hydra/ in it.")
    return folder


def merge_overrides(folder: Path, given: list[str]) -> list[str]:
    """Return the overrides that the run was started with, followed by those given now, which replace equal keys."""
    file = folder / ".hydra" / "overrides.yaml"
    return merge(read_yaml(file, list), given, file)


def merge(recorded: list[Any], given: list[str], file: Path) -> list[str]:
    """Join two lists of overrides. A group that is given again drops its recorded keys: trainer=cpu drops
    trainer.devices=2.

    Raises WeightsError for what the record in `file` may not hold, unless that is given again.
    """
    keys = {key_of(override) for override in given} | {"run_dir", "resume"}
    kept = [each for each in recorded if not {key_of(str(each)), key_of(str(each)).partition(".")[0]} & keys]
    return refuse_foreign(kept, file) + given


def refuse_foreign(recorded: list[Any], file: Path) -> list[str]:
    """Return the overrides that `file` holds.

    Raises WeightsError unless every one sets a key of this project, to an option or target that it ships.
    """
    files, targets = _shipped()
    groups = {name.partition("/")[0] for name in files if "/" in name}
    known = groups | read_yaml(CONFIGS / "train.yaml", dict).keys() - {"defaults", "hydra"}
    parser = OverridesParser.create()
    for each in recorded:
        try:
            override = parser.parse_override(each)
            key, values = override.key_or_group, _values(override)
        except (HydraException, TypeError, AttributeError):
            raise WeightsError(f"{file} is damaged: it holds {each!r}. Start it anew.") from None
        # An interpolation could make a target: ${oc.create:...}
        foreign = override.package or "${" in each or key.split(".")[0] not in known
        named = _targets({key.rpartition(".")[2]: values})
        foreign = foreign or not targets.issuperset((key.split(".")[0], target) for target in named)
        # A logger of a foreign folder might write elsewhere, or send what it is given.
        foreign = foreign or (key.startswith("logger.") and key.rpartition(".")[2] not in NAMES_OF_A_LOGGER)
        if key in groups:  # whose options may be several: callbacks=[timer,device_stats]
            options = [option for value in values for option in (value if isinstance(value, list) else [value])]
            foreign = foreign or any(option is not None and f"{key}/{option}" not in files for option in options)
        if foreign:
            again = f"give {each.partition('=')[0]}= again yourself"
            raise WeightsError(f"{file} holds {each}, which is not part of this project. If you trust it, {again}.")
    return recorded


@functools.cache
def _shipped() -> tuple[set[str], set[tuple[str, str]]]:
    """Return the files in configs/, such as `model/lenet`, and each group with all that it names as a `_target_`."""
    files = {path.relative_to(CONFIGS).with_suffix("").as_posix(): path for path in CONFIGS.glob("**/*.yaml")}
    content = {name: yaml.safe_load(path.read_bytes()) for name, path in files.items()}
    return {*files}, {(name.partition("/")[0], each) for name, yaml in content.items() for each in _targets(yaml)}


def _values(override: Override) -> list[Any]:
    """Return the value of an override, or those that a sweep tries."""
    if isinstance(override.value(), Glob):
        return []  # options of a group
    values = list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]
    return [value.text if isinstance(value, QuotedString) else value for value in values]


def check_unchanged(folder: Path, configuration: dict[str, Any]) -> None:
    """Raise SettingsError at the first key whose value differs from the recorded one and may not."""
    recorded = flatten(read_yaml(folder / "config.yaml", dict))
    current = flatten(configuration)
    keys = sorted(recorded.keys() | current.keys())
    for key in sorted(keys, key=lambda key: not key.endswith(("name", "_target_"))):  # what was chosen, then the rest
        before, now = recorded.get(key), current.get(key)
        if before == now or key.split(".")[0] in MUTABLE_KEYS or key in PROCESS_KEYS:
            continue
        if key == "data.root" and "data.sha256" in current:
            continue  # own data in another place, if they are the same
        if (key not in recorded and not now) or (key not in current and not before):
            continue  # an option that only one version has, and that is off
        if (key in AUTO_KEYS and now == "auto") or (key.split(".")[-1] in OWN_DATA_KEYS and now is None):
            continue
        why = ""
        if key == "epochs" and isinstance(before, int) and isinstance(now, int) and now > before:
            if "epochs" not in configuration["scheduler"]:
                continue
            why = f" (the {configuration['scheduler']['_target_'].rpartition('.')[2]} schedule ends at {before})"
        if key == "data.sha256":
            raise SettingsError("the images or labels are not those of this run any more. Start a new run for them.")
        raise SettingsError(f"{key} was {before} in this run, it cannot become {now}{why}. Start a new run for that.")


def recorded_threads(folder: Path) -> int | None:
    """Return the threads of a run, which goes on with as many: their number changes how sums are rounded."""
    found = read_yaml(folder / "config.yaml", dict).get("threads")
    return found if isinstance(found, int) else None


def finished_message(folder: Path, epochs: int) -> str | None:
    """Return the line that says that a run is complete, None for a run that is not."""
    try:
        metrics = json.loads((folder / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return None
    ended_early = metrics.get("ended_early")
    if metrics.get("status") != "finished" or (metrics.get("epochs") != epochs and not ended_early):
        return None
    count = f"{metrics['epochs']}{f' of {epochs}' if ended_early else ''} epoch{'s' if epochs > 1 else ''}"
    return f"{shown(folder)} has finished its {count}: test accuracy {metrics['test']['accuracy']:.4f}."


def read_yaml(file: Path, kind: type) -> Any:
    """Return the content of a YAML file of a run. Raises WeightsError unless it is of this kind."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, kind):
        raise WeightsError(f"{file} is damaged, the run cannot be resumed. Start it anew.")
    return content


def _targets(value: Any, key: str = "") -> Iterator[str]:
    """Yield all that is named as a `_target_`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _targets(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _targets(inner, key)
    elif key == "_target_":
        yield str(value)


def key_of(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def flatten(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
