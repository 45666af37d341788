"""A sweep: a folder for each job below the sweep's own, and one table of all at its end. Nothing here imports torch.

What the table shows is read from the folders, so that it is whole whoever ran the jobs, and when.
"""

import contextlib
import csv
import io
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from models import WeightsError

from . import atomic
from .errors import STATUS, MachineError, SettingsError, shown
from .resuming import FREE, OPEN_ENDED, SWEEP_RECORD, key_of, merge, read_yaml
from .run_folder import make_new

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


class Job(NamedTuple):
    folder: Path
    settings: dict[str, str]  # by which jobs of the sweep differ, without the seed
    metrics: dict[str, Any]  # of its metrics.json


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
        free = key.split(".")[0] in FREE or key.startswith("hydra")  # how jobs are launched
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


def finish(sweep: Sweep, outcomes: list[Outcome]) -> None:
    """Print the table and write it as sweep.csv and sweep.json; of a sweep that began no job leave nothing."""
    folder = sweep.folder
    for file in sorted(folder.glob(f"{OUTCOMES}/*.json")):
        outcomes.append(Outcome(*json.loads(file.read_bytes())))
    shutil.rmtree(folder / OUTCOMES, ignore_errors=True)
    failed = [outcome for outcome in outcomes if outcome.status]
    if sweep.resumed and outcomes and not any(outcome.status == STATUS[SettingsError] for outcome in outcomes):
        sweep.record()  # what was changed for all jobs holds from now on
    if not sweep.resumed and {file.name for file in folder.iterdir()} <= {SWEEP_RECORD, HYDRAS_RECORD}:
        shutil.rmtree(folder)
    elif outcomes and (jobs := read_jobs(folder, [key for key in sweep.named_by if key != "seed"])):
        rows = summarise(jobs)
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic.write(folder / "sweep.csv", table.getvalue().encode())
        content = {
            "rows": rows,
            "jobs": [{"folder": job.folder.name, **job.settings, **job.metrics} for job in jobs],
            "failed": [outcome._asdict() for outcome in failed],
        }
        atomic.write(folder / "sweep.json", (json.dumps(content, indent=2) + "\n").encode())
        print_table(folder, rows, list(jobs[0].settings))
        if any((job.folder / "report.html").is_file() for job in jobs):
            from . import sweep_report

            atomic.write(folder / "report.html", sweep_report.render(sweep, rows, jobs, failed).encode())
    if failed:
        names = ", ".join(outcome.job for outcome in failed)
        sys.stderr.write(f"refzoo: {len(failed)} of {len(outcomes)} jobs failed: {names}.\n")


def read_jobs(folder: Path, differing: list[str]) -> list[Job]:
    """The jobs that have a folder, by their folders' names; one whose files are damaged is named and left out."""
    jobs = []
    for file in sorted(folder.glob("*/metrics.json")):
        try:
            overrides = read_yaml(file.parent / ".hydra" / "overrides.yaml", list)
            metrics = json.loads(file.read_bytes())
            if not isinstance(metrics, dict):
                raise ValueError
        except (WeightsError, ValueError):
            sys.stderr.write(f"refzoo: {shown(file.parent)} is damaged and not in the table.\n")
            continue
        values = metrics | {key_of(override): override.partition("=")[2] for override in overrides}
        settings = {key: str(values.get(key, "")) for key in differing or ("model", "data")}
        jobs.append(Job(file.parent, settings, metrics))
    return jobs


def summarise(jobs: list[Job]) -> list[dict[str, Any]]:
    """A row for each combination of settings: mean and standard deviation (of the sample) over its finished runs, the
    best by validation first.
    """
    groups: dict[tuple[str, ...], list[Job]] = defaultdict(list)
    for job in jobs:
        groups[tuple(job.settings.values())].append(job)
    rows = []
    for group in groups.values():
        finished = [job.metrics for job in group if job.metrics["status"] == "finished"]
        row: dict[str, Any] = {**group[0].settings, "runs": len(finished), "unfinished": len(group) - len(finished)}
        for split in ("val", "test"):
            values = [metrics[split]["accuracy"] for metrics in finished if metrics[split]]
            row[f"{split}_accuracy_mean"] = round(mean(values), 6) if values else None
            row[f"{split}_accuracy_sd"] = round(stdev(values), 6) if len(values) > 1 else None
        row["train_seconds_mean"] = round(mean(each["train_seconds"] for each in finished), 2) if finished else None
        rows.append(row)
    return sorted(rows, key=lambda row: -(row["val_accuracy_mean"] or 0))


def print_table(folder: Path, rows: list[dict[str, Any]], keys: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for key in keys:
        table.add_column(key.replace(".", ".\n"), overflow="fold")
    for head in ("runs", "val %", "test %", "seconds"):
        table.add_column(head, justify="right", overflow="fold")
    for row in rows:
        runs = f"{row['runs']}" + (f" of {row['runs'] + row['unfinished']}" if row["unfinished"] else "")
        figures = [percent(row[f"{split}_accuracy_mean"], row[f"{split}_accuracy_sd"]) for split in ("val", "test")]
        seconds = "-" if row["train_seconds_mean"] is None else f"{row['train_seconds_mean']:.0f}"
        table.add_row(*(row[key] for key in keys), runs, *figures, seconds)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, emoji=False)
    console.print("", table, f"mean ± standard deviation over the seeds -> {shown(folder)}/sweep.csv", sep="\n")


def percent(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")
