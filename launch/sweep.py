"""A sweep's folder: which overrides it was started with, and how its jobs ended."""

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from models import WeightsError

from . import atomic
from .errors import MachineError, SettingsError
from .resume import MUTABLE_KEYS, OPEN_ENDED, SWEEP_RECORD, key_of, merge, read_yaml
from .run_dir import make_new

HYDRAS_RECORD = "multirun.yaml"
OUTCOMES = ".outcomes"  # of the jobs that a launcher ran in other processes


class Sweep(NamedTuple):
    """What a sweep was started with; `named_by` are the keys by which its jobs differ and their folders are called."""

    folder: Path
    overrides: list[str]
    named_by: list[str]
    resumed: bool

    def record(self) -> None:
        content = {"overrides": self.overrides, "named_by": self.named_by}
        atomic.write(self.folder / SWEEP_RECORD, yaml.safe_dump(content, width=1000).encode())


class Outcome(NamedTuple):
    """How a job ended: the exit status it would have had, and the line that said why."""

    job: str
    status: int
    message: str

    def leave(self, folder: Path) -> None:
        """For the process that began the sweep, where this is not that one."""
        (folder / OUTCOMES).mkdir(exist_ok=True)
        atomic.write(folder / OUTCOMES / f"{self.job}.json", json.dumps(self).encode())


def is_sweep(folder: Path) -> bool:
    return (folder / SWEEP_RECORD).is_file()


def begun(folder: Path, overrides: list[str], may_rename: bool) -> Sweep:
    """A new sweep in `folder`; if that is taken and `may_rename`, in one with `-2` behind its name."""
    try:
        if may_rename:
            folder = make_new(folder.parent, folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        sweep = Sweep(folder, overrides, _swept(overrides), resumed=False)
        sweep.record()
    except OSError as error:
        raise MachineError(f"{folder} cannot be written ({error.strerror}). Choose a run_dir.") from None
    return sweep


def resumed(folder: Path, given: list[str]) -> Sweep:
    """Raises SettingsError if what is given now would change a job that has begun; it may add seeds, for one."""
    content = read_yaml(folder / SWEEP_RECORD, dict)
    try:
        recorded, named_by = list(content["overrides"]), list(content["named_by"])
    except (KeyError, TypeError):
        raise WeightsError(f"{folder / SWEEP_RECORD} is damaged, this cannot go on. Start it anew.") from None
    may_change = {*named_by, "model", "data", "seed"}  # with these a job is another one, in a folder of its own
    new = [key for key in _swept(given) if key not in named_by]
    if "epochs" not in new and any(f"scheduler={schedule}" in recorded for schedule in OPEN_ENDED):
        may_change.add("epochs")
    for override in given:
        key = key_of(override)
        free = key.split(".")[0] in MUTABLE_KEYS or key.startswith("hydra")  # how jobs are launched
        if key not in may_change and not free and override not in recorded:
            raise SettingsError(f"{override} would change a sweep that has begun. Start a new one for that.")
    return Sweep(folder, merge(recorded, given), named_by + new, resumed=True)


def _swept(overrides: list[str]) -> list[str]:
    parser, keys = OverridesParser.create(), {}
    for each in overrides:
        with contextlib.suppress(HydraException):  # Hydra will refuse it
            override = parser.parse_override(each)
            if override.is_sweep_override():
                keys[override.key_or_group] = None
    return list(keys)
