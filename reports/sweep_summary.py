"""Summarise a sweep: print the table of its jobs, and write it as sweep.csv, sweep.json and report.html."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from launch import atomic
from launch.errors import shown
from launch.sweep import Outcome, Sweep

from .sweep_results import read_jobs, summarise
from .tables import for_terminal, percent


def write(sweep: Sweep, outcomes: list[Outcome]) -> None:
    """Write and print the summary of the jobs that have a folder; say which jobs failed."""
    folder, failed = sweep.folder, [outcome for outcome in outcomes if 0 < outcome.status < 128]
    if outcomes and (jobs := read_jobs(folder, sweep.named_by)):
        rows = summarise(jobs)
        atomic.write(folder / "sweep.csv", to_csv(rows).encode())
        content = {
            "rows": rows,
            "jobs": [{"folder": job.folder.name, **job.settings, **job.metrics} for job in jobs],
            "failed": [outcome._asdict() for outcome in failed],
        }
        atomic.write(folder / "sweep.json", (json.dumps(content, indent=2) + "\n").encode())
        print_table(folder, rows, list(jobs[0].settings))
        if any(job.has_page for job in jobs):
            from . import sweep_report  # imports matplotlib

            atomic.write(folder / "report.html", sweep_report.render(sweep, rows, jobs, failed).encode())
    if failed:
        names = ", ".join(outcome.job for outcome in failed)
        sys.stderr.write(f"refzoo: {len(failed)} of {len(outcomes)} jobs failed: {names}.\n")


def to_csv(rows: list[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def print_table(folder: Path, rows: list[dict[str, Any]], keys: list[str]) -> None:
    from rich.console import Console

    lines = []
    for row in rows:
        runs = f"{row['runs']}" + (f" of {row['runs'] + row['unfinished']}" if row["unfinished"] else "")
        accuracies = [percent(row[f"{split}_accuracy_mean"], row[f"{split}_accuracy_sd"]) for split in ("val", "test")]
        seconds = "-" if row["train_seconds_mean"] is None else f"{row['train_seconds_mean']:.0f}"
        lines.append([*(row[key] for key in keys), runs, *accuracies, seconds])
    on_terminal = sys.stdout.isatty()
    names = [key.replace(".", ".\n") for key in keys] if on_terminal else keys
    table = for_terminal(names, ["runs", "val %", "test %", "seconds"], lines)
    console = Console(width=None if on_terminal else 200, highlight=False, markup=False, emoji=False)
    console.print("", table, f"mean ± standard deviation over the seeds -> {shown(folder)}/sweep.csv", sep="\n")
