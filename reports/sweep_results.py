"""Read the results of a sweep's jobs from their run folders: complete whichever process ran a job, and when."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from launch.errors import shown
from launch.resume import key_of, read_yaml
from models import WeightsError


class Job(NamedTuple):
    folder: Path
    settings: dict[str, str]  # the overrides in which the jobs differ, without the seed
    metrics: dict[str, Any]  # its metrics.json

    @property
    def has_page(self) -> bool:
        return (self.folder / "report.html").is_file()


def read_jobs(folder: Path, swept: list[str]) -> list[Job]:
    """Read the jobs that have a metrics.json, with their values of `swept` keys; report damaged jobs and skip them."""
    jobs = []
    for file in sorted(folder.glob("*/metrics.json")):
        try:
            overrides = read_yaml(file.parent / ".hydra" / "overrides.yaml", list)
            metrics = json.loads(file.read_bytes())
            if not isinstance(metrics, dict):
                raise ValueError
        except (WeightsError, ValueError):
            sys.stderr.write(f"refzoo: {shown(file.parent)} is damaged, and left out of the table.\n")
            continue
        values = metrics | {key_of(override): override.partition("=")[2] for override in overrides}
        keys = [key for key in swept if key != "seed"] or ("model", "data")
        jobs.append(Job(file.parent, {key: str(values.get(key, "")) for key in keys}, metrics))
    return jobs


def summarise(jobs: list[Job]) -> list[dict[str, Any]]:
    """Return a row per combination of settings, best validation first, with mean and sd over its finished runs."""
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
