"""A sweep: a folder for each job below the sweep's own, and one table of all at its end. Nothing here imports torch.

What the table shows is read from the folders, so that it is whole whoever ran the jobs, and when.
"""

import contextlib
import csv
import io
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import yaml

from . import atomic
from .errors import shown

RECORD = "multirun.yaml"  # written by Hydra: what the sweep was started with


class Outcome(NamedTuple):
    """How a job ended in this process: the exit status it would have had, and the line that said why."""

    job: str
    status: int
    message: str


class Job(NamedTuple):
    folder: Path
    settings: dict[str, str]  # by which jobs of the sweep differ, without the seed
    metrics: dict[str, Any]  # of its metrics.json


def finish(folder: Path, outcomes: list[Outcome]) -> None:
    """Print the table and write it as sweep.csv and sweep.json; of a sweep that began no job leave nothing."""
    jobs = read_jobs(folder)
    if not jobs:
        with contextlib.suppress(OSError):  # what holds anything else, stays
            (folder / RECORD).unlink(missing_ok=True)
            folder.rmdir()
        return
    rows = summarise(jobs)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write(folder / "sweep.csv", table.getvalue().encode())
    content = {
        "rows": rows,
        "jobs": [{"folder": job.folder.name, **job.settings, **job.metrics} for job in jobs],
        "failed": [outcome._asdict() for outcome in outcomes if outcome.status],
    }
    atomic.write(folder / "sweep.json", (json.dumps(content, indent=2) + "\n").encode())
    print_table(folder, rows, list(jobs[0].settings))
    if failed := [f"{outcome.job} ({outcome.message})" for outcome in outcomes if outcome.status]:
        sys.stderr.write(f"refzoo: {len(failed)} of {len(outcomes)} jobs failed: {'; '.join(failed)}\n")


def read_jobs(folder: Path) -> list[Job]:
    """The jobs that have a folder, by their folders' names."""
    found = []
    for file in sorted(folder.glob("*/metrics.json")):
        overrides = yaml.safe_load((file.parent / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        pairs = (override.lstrip("+~").partition("=") for override in overrides)
        found.append((file.parent, json.loads(file.read_bytes()), {key: value for key, _, value in pairs}))
    settings = [{"model": metrics["model"], "data": metrics["data"]} | own for _, metrics, own in found]
    keys = dict.fromkeys(key for each in settings for key in each if key not in ("seed", "run_dir"))
    differing = [key for key in keys if len({each.get(key) for each in settings}) > 1] or ["model", "data"]
    return [
        Job(folder, {key: each.get(key, "") for key in differing}, metrics)
        for (folder, metrics, _), each in zip(found, settings, strict=True)
    ]


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
        figures = [_percent(row[f"{split}_accuracy_mean"], row[f"{split}_accuracy_sd"]) for split in ("val", "test")]
        seconds = "-" if row["train_seconds_mean"] is None else f"{row['train_seconds_mean']:.0f}"
        table.add_row(*(row[key] for key in keys), runs, *figures, seconds)
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print("", table, f"mean ± standard deviation over the seeds -> {shown(folder)}/sweep.csv", sep="\n")


def _percent(value: float | None, deviation: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")
