"""The table at a sweep's end, on the terminal and as sweep.csv and sweep.json.

It is read from the jobs' folders, so that it is complete whichever process ran a job, and when.
"""

import csv
import io
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from launch import atomic
from launch.errors import STATUS, SettingsError, shown
from launch.resume import SWEEP_RECORD, key_of, read_yaml
from launch.sweep import HYDRAS_RECORD, OUTCOMES, Outcome, Sweep
from models import WeightsError


class Job(NamedTuple):
    folder: Path
    settings: dict[str, str]  # by which jobs of the sweep differ, without the seed
    metrics: dict[str, Any]  # of its metrics.json


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
            from reports import sweep_report

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
