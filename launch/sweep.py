"""Record in a sweep's folder which overrides it was started with, and how its jobs ended."""

import contextlib
import json
import math
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from models import WeightsError

from . import atomic, threads
from .errors import STATUS, Interrupted, MachineError, SettingsError
from .processes import SIDE_BY_SIDE
from .resume import MUTABLE_KEYS, key_of, merge, read_yaml
from .run_dir import SWEEP_RECORD, make_new

HYDRAS_RECORD = "multirun.yaml"
OUTCOMES = ".outcomes"  # a folder for the outcomes of jobs that a launcher ran in other processes


class Outcome(NamedTuple):
    """Hold how a job ended: its exit status, and the line that says why."""

    job: str
    status: int
    message: str

    def interrupted(self) -> Interrupted:
        """Return the exception of a job that a signal has stopped."""
        return Interrupted(self.message or f"stopped by {signal.Signals(self.status - 128).name}", self.status)

    def send(self, folder: Path) -> None:
        """Write it where the process that started the sweep will read it."""
        (folder / OUTCOMES).mkdir(exist_ok=True)
        atomic.write(folder / OUTCOMES / f"{self.job}.json", json.dumps(self).encode())


def read_outcomes(folder: Path) -> list[Outcome]:
    """Read the outcomes that jobs of this sweep have sent until now."""
    return [Outcome(*json.loads(file.read_bytes())) for file in sorted(folder.glob(f"{OUTCOMES}/*.json"))]


class Sweep(NamedTuple):
    """Hold what a sweep was started with; `named_by` are the keys in which its jobs differ, and which name them."""

    folder: Path
    overrides: list[str]
    named_by: list[str]
    resumed: bool

    def record(self) -> None:
        """Write the overrides, without Hydra's: how jobs are launched is not read from a folder, but given again."""
        overrides = [each for each in self.overrides if not key_of(each).startswith("hydra")]
        content = {"overrides": overrides, "named_by": self.named_by}
        atomic.write(self.folder / SWEEP_RECORD, yaml.safe_dump(content, width=1000).encode())

    def environment(self) -> dict[str, str]:
        """Return the environment of the jobs, which share cores and terminal where a launcher runs several at once."""
        launcher, jobs = self.launcher(), self.count() or threads.cores()
        at_once = {"submitit_local": jobs, "joblib": min(jobs, self._joblibs()), "ray": min(jobs, threads.cores())}
        processes = at_once.get(launcher, 1)
        return threads.shared_by(processes) | ({SIDE_BY_SIDE: "1"} if processes > 1 else {})

    def launcher(self) -> str:
        return self._given("hydra/launcher") or "basic"

    def _joblibs(self) -> int:
        """Return how many processes joblib starts: below 0, of all cores, as many fewer."""
        given = self._given("hydra.launcher.n_jobs") or "-1"
        number = int(given) if given.lstrip("-").isdecimal() else -1
        return number if number > 0 else max(1, threads.cores() + 1 + number)

    def _given(self, key: str) -> str | None:
        return next((each.partition("=")[2] for each in reversed(self.overrides) if key_of(each) == key), None)

    def count(self) -> int | None:
        """Return the number of jobs, None if Hydra alone can tell, as for model=glob(*)."""
        overrides = OverridesParser.create().parse_overrides(self.overrides)
        try:
            return math.prod(len(list(each.sweep_string_iterator())) for each in overrides if each.is_sweep_override())
        except HydraException:
            return None

    def collect(self) -> list[Outcome]:
        """Return the outcomes that jobs in other processes have sent."""
        outcomes = read_outcomes(self.folder)
        shutil.rmtree(self.folder / OUTCOMES, ignore_errors=True)
        return outcomes

    def close(self, outcomes: list[Outcome]) -> None:
        """Record the overrides given on resuming; remove the folder of a new sweep if no job has started."""
        if not self.resumed and {file.name for file in self.folder.iterdir()} <= {SWEEP_RECORD, HYDRAS_RECORD}:
            shutil.rmtree(self.folder)
        if self.resumed and outcomes and all(outcome.status != STATUS[SettingsError] for outcome in outcomes):
            self.record()


def start(folder: Path, overrides: list[str], may_rename: bool) -> Sweep:
    """Record a new sweep in `folder`; if that is taken and `may_rename`, in one with `-2` appended."""
    try:
        if may_rename:
            folder = make_new(folder.parent, folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        sweep = Sweep(folder, overrides, swept(overrides), resumed=False)
        sweep.record()
    except OSError as error:
        raise MachineError(f"{folder} cannot be written ({error.strerror}). Choose another run_dir.") from None
    return sweep


def resume(folder: Path, given: list[str]) -> Sweep:
    """Resume a sweep with further overrides. Raises SettingsError if they would change a job that has started."""
    shutil.rmtree(folder / OUTCOMES, ignore_errors=True)  # of a sweep whose process was killed
    content = read_yaml(folder / SWEEP_RECORD, dict)
    try:
        recorded, named_by = list(content["overrides"]), list(content["named_by"])
    except (KeyError, TypeError):
        raise WeightsError(f"{folder / SWEEP_RECORD} is damaged, the sweep cannot be resumed. Start it anew.") from None
    may_change = {*named_by, "model", "data", "seed"}  # with these a job is another one, in a folder of its own
    new = [key for key in swept(given) if key not in named_by]
    if "epochs" not in new and not any(_ends_at_an_epoch(config) for config in folder.glob("*/config.yaml")):
        may_change.add("epochs")
    for override in given:
        key = key_of(override)
        mutable = key.split(".")[0] in MUTABLE_KEYS or key.startswith("hydra")  # how jobs are launched
        if key not in may_change and not mutable and override not in recorded:
            raise SettingsError(f"{override} would change a sweep that has started. Start a new one for that.")
    return Sweep(folder, merge(recorded, given, folder / SWEEP_RECORD), named_by + new, resumed=True)


def _ends_at_an_epoch(config: Path) -> bool:
    """Return whether the schedule of this job depends on the number of epochs."""
    return "epochs" in (read_yaml(config, dict).get("scheduler") or ())


def swept(overrides: list[str]) -> list[str]:
    """Return the keys that have several values."""
    parser, keys = OverridesParser.create(), {}
    for each in overrides:
        with contextlib.suppress(HydraException):  # Hydra will refuse it
            override = parser.parse_override(each)
            if override.is_sweep_override():
                keys[override.key_or_group] = None
    return list(keys)
