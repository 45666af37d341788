"""Going on with a stopped run: in its own folder, with its own configuration. Nothing here imports torch."""

import json
from pathlib import Path
from typing import Any

import yaml

from models import WeightsError

from .errors import SettingsError, shown

SWEEP_RECORD = "sweep.yaml"  # of a sweep's folder, as config.yaml is of a run's
MUTABLE_KEYS = (
    "run_dir",
    "resume",
    "report",
    "logger",
    "checkpoint",
)  # what may differ from the recorded configuration
AUTO_KEYS = ("trainer.accelerator", "precision")  # by the machine, where they are "auto"
PROCESSES = ("trainer.strategy", "trainer.devices", "trainer.num_nodes")  # and this: it changes nothing but rounding
OPEN_ENDED = ("constant", "step")  # schedules whose rates do not depend on the number of epochs


def find(wanted: str, runs: Path) -> Path:
    """The folder of a run or a sweep that `resume=` names; `last` is the one that was written to last."""
    folder = Path(wanted).expanduser().absolute()
    if wanted == "last":
        written = [file for name in ("config.yaml", "metrics.json") for file in runs.glob(f"**/{name}")]
        if not written:
            raise SettingsError(f"there is no run in {runs} to resume.")
        folder = max(written, key=lambda file: file.stat().st_mtime).parent
        if (folder.parent / SWEEP_RECORD).is_file():
            folder = folder.parent
    if not is_run(folder) and not (folder / SWEEP_RECORD).is_file():
        raise SettingsError(f"resume={wanted} is not a run folder: there is no config.yaml with its .hydra/ in it.")
    return folder


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / ".hydra" / "overrides.yaml").is_file()


def merge_overrides(folder: Path, given: list[str]) -> list[str]:
    """The overrides that the run was started with, then those given now, in the place of the same key."""
    return merge(read_yaml(folder / ".hydra" / "overrides.yaml", list), given)


def merge(recorded: list[str], given: list[str]) -> list[str]:
    """A group that is chosen anew takes the keys below it along: trainer=cpu leaves no trainer.devices=2."""
    keys = {key_of(override) for override in given} | {"run_dir", "resume"}
    return [each for each in recorded if not {key_of(each), key_of(each).partition(".")[0]} & keys] + given


def check_unchanged(folder: Path, configuration: dict[str, Any]) -> None:
    """Raises SettingsError at the first key whose value is not the recorded one and may not change."""
    recorded = _flat(read_yaml(folder / "config.yaml", dict))
    current = _flat(configuration)
    for key in sorted(recorded.keys() | current.keys()):
        before, now = recorded.get(key), current.get(key)
        if key.startswith("data.augment.") or key == "compile":  # what did not exist yet was off
            before = before or type(now)()
        if before == now or key.split(".")[0] in MUTABLE_KEYS or key in PROCESSES:
            continue
        if key in AUTO_KEYS and now == "auto":
            continue
        more = key == "epochs" and isinstance(before, int) and isinstance(now, int) and now > before
        schedule = configuration["scheduler"]["_target_"].rpartition(".")[2]
        if more and schedule in OPEN_ENDED:
            continue
        why = f" (the {schedule} schedule was laid out for {before})" if more else ""
        raise SettingsError(f"{key} was {before} in this run, it cannot become {now}{why}. Start a new run for that.")


def finished(folder: Path, epochs: int) -> str | None:
    """What to say of a run that has nothing left to do."""
    try:
        metrics = json.loads((folder / "metrics.json").read_bytes())
    except (OSError, ValueError):
        return None
    if metrics.get("status") != "finished" or metrics.get("epochs") != epochs:
        return None
    count = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    return f"{shown(folder)} has finished its {count}: test accuracy {metrics['test']['accuracy']:.4f}."


def read_yaml(file: Path, kind: type) -> Any:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, kind):
        raise WeightsError(f"{file} is damaged, this cannot go on. Start it anew.")
    return content


def key_of(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in section.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
