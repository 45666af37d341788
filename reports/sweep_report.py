"""Make the page of a sweep: a table, the validation curves, the test accuracies, and links to the pages of its runs."""

import contextlib
import csv
from collections import defaultdict
from statistics import mean
from typing import Any, NamedTuple

from markupsafe import Markup

from launch.sweep import Outcome, Sweep

from . import page
from .sweep_results import Job
from .tables import percent

LINES = [(colour, line) for line in ("solid", "dashed", "dotted") for colour in page.SERIES]
OTHER_LINES = ("muted", "solid")  # of all combinations after the first fifteen
MAX_LABEL = 26  # characters beside a figure


class Combination(NamedTuple):
    """One combination of settings: a row of sweep.csv, how its line is drawn, and its finished runs."""

    row: dict[str, Any]
    settings: list[str]
    colour: str
    line: str
    jobs: list[Job]


def render(sweep: Sweep, rows: list[dict[str, Any]], jobs: list[Job], failed: list[Outcome]) -> str:
    """Return the HTML page of a sweep. `rows` are those of sweep.csv; each job's metrics.csv is read."""
    keys = list(jobs[0].settings)
    combinations = []
    for i, row in enumerate(rows):
        finished = [job for job in jobs if job.settings.items() <= row.items() and job.metrics["status"] == "finished"]
        line = LINES[i] if i < len(LINES) else OTHER_LINES
        combinations.append(Combination(row, [row[key] for key in keys], *line, finished))
    with page.style():
        figures = [
            (
                validation_curves(combinations),
                "Mean over the seeds; the band reaches from the lowest to the highest of them.",
            ),
            (test_accuracies(combinations), "Each seed, with mean and standard deviation."),
        ]
    return page.fill(
        "sweep_report.html.j2",
        swept=sweep.named_by,
        command=page.command_line(sweep.overrides, "-m"),
        keys=keys,
        combinations=combinations,
        jobs=jobs,
        failed=failed,
        figures=[(figure, caption) for figure, caption in figures if figure],
        percent=percent,
    )


def validation_curves(combinations: list[Combination]) -> Markup | None:
    """Draw the mean validation accuracy of each combination by epoch; None if no run was validated."""
    figure = page.new_figure(height=300)
    axes = figure.subplots()
    axes.set_title("Validation accuracy")
    drawn: list[float] = []
    described: list[str] = []
    for each in reversed(combinations):  # the best one on top
        values: dict[int, list[float]] = defaultdict(list)  # epoch: accuracies of the seeds
        for job in each.jobs:
            for epoch, accuracy in read_validation(job):
                values[epoch].append(accuracy)
        if not values:
            continue
        epochs, seeds = sorted(values), [values[epoch] for epoch in sorted(values)]
        means, colour = [mean(accuracies) for accuracies in seeds], page.COLOURS[each.colour][0]
        axes.fill_between(epochs, [*map(min, seeds)], [*map(max, seeds)], color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, means, color=colour, linestyle=each.line, marker="o" if len(epochs) == 1 else None)
        page.epoch_axis(axes, epochs)
        drawn += [accuracy for accuracies in seeds for accuracy in accuracies]
        described.insert(0, f"{', '.join(each.settings)}: {means[-1]:.4f} after {epochs[-1]} epochs")
    if not drawn:
        return None
    page.use_log_axis(axes, drawn, limit=1)
    return page.svg(figure, "validation", f"Mean validation accuracy of the seeds, by epoch. {'; '.join(described)}.")


def read_validation(job: Job) -> list[tuple[int, float]]:
    """Read epochs and validation accuracies; an empty list without validation or if the file is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError), (job.folder / "metrics.csv").open() as file:
        return [(int(row["epoch"]), float(row["val_accuracy"])) for row in csv.DictReader(file)]
    return []


def test_accuracies(combinations: list[Combination]) -> Markup | None:
    """Draw the test accuracies of each combination in %; None if no run has finished."""
    shown = [each for each in combinations if each.row["test_accuracy_mean"] is not None]
    if not shown:
        return None
    figure = page.new_figure(height=80 + 22 * len(shown))
    axes = figure.subplots()
    axes.set_title("Test accuracy, %")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    described = []
    for y, each in enumerate(shown):
        colour = page.COLOURS[each.colour][0]
        accuracies = [100 * job.metrics["test"]["accuracy"] for job in each.jobs]
        center, deviation = each.row["test_accuracy_mean"], each.row["test_accuracy_sd"]
        axes.errorbar(100 * center, y, xerr=100 * (deviation or 0), color=colour, fmt="|", markersize=11)
        axes.plot(accuracies, [y] * len(accuracies), "o", color=colour, alpha=0.5, markeredgewidth=0)
        described.append(f"{', '.join(each.settings)}: {', '.join(f'{accuracy:.2f}' for accuracy in accuracies)}")
    labels = [", ".join(each.settings) for each in shown]
    labels = [label if len(label) <= MAX_LABEL else f"{label[:11]}…{label[-12:]}" for label in labels]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    return page.svg(figure, "test", f"Test accuracy of each seed, in %. {'; '.join(described)}.")
