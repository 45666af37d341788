"""The page of a sweep: its table, the validation of its runs over the epochs, and the way to the page of each."""

import contextlib
import csv
from collections import defaultdict
from statistics import mean
from typing import Any, NamedTuple

from markupsafe import Markup

from launch.sweep import Outcome, Sweep

from . import page
from .sweep_summary import Job, percent

LOOKS = [(colour, line) for line in ("solid", "dashed", "dotted") for colour in page.SERIES]
OTHERS = ("muted", "solid")  # of the combinations that are behind the first fifteen
LONGEST = 26  # characters beside a figure


class Combination(NamedTuple):
    """A row of the table, the look of its line, and the runs behind it that have finished."""

    row: dict[str, Any]
    settings: list[str]
    colour: str
    line: str
    jobs: list[Job]


def render(sweep: Sweep, rows: list[dict[str, Any]], jobs: list[Job], failed: list[Outcome]) -> str:
    """The page of a sweep with these rows of sweep.csv; reads the jobs' metrics.csv, and whether they have a page."""
    keys = list(jobs[0].settings)
    combinations = []
    for i, row in enumerate(rows):
        colour, line = LOOKS[i] if i < len(LOOKS) else OTHERS
        behind = [job for job in jobs if job.settings.items() <= row.items() and job.metrics["status"] == "finished"]
        combinations.append(Combination(row, [row[key] for key in keys], colour, line, behind))
    with page.style():
        figures = [
            (validation_curves(combinations), "The mean of the seeds, between the lowest and the highest of them."),
            (test_accuracies(combinations), "Each seed, their mean and standard deviation."),
        ]
    return page.fill(
        "sweep_report.html.j2",
        swept=sweep.named_by,
        command=page.command_line(sweep.overrides, "-m"),
        keys=keys,
        combinations=combinations,
        jobs=[(job, (job.folder / "report.html").is_file()) for job in jobs],
        failed=failed,
        figures=[(figure, caption) for figure, caption in figures if figure],
        percent=percent,
    )


def validation_curves(combinations: list[Combination]) -> Markup | None:
    """None if no run was validated."""
    figure = page.new_figure(height=300)
    axes = figure.subplots()
    axes.set_title("Validation accuracy")
    drawn: list[float] = []
    said: list[str] = []
    for each in reversed(combinations):  # the best on top
        values: dict[int, list[float]] = defaultdict(list)  # of the seeds, by epoch
        for job in each.jobs:
            for epoch, accuracy in validation(job):
                values[epoch].append(accuracy)
        if not values:
            continue
        epochs, seeds = sorted(values), [values[epoch] for epoch in sorted(values)]
        means, colour = [mean(accuracies) for accuracies in seeds], page.COLOURS[each.colour][0]
        axes.fill_between(epochs, [*map(min, seeds)], [*map(max, seeds)], color=colour, alpha=0.15, linewidth=0)
        axes.plot(epochs, means, color=colour, linestyle=each.line, marker="o" if len(epochs) == 1 else None)
        page.epoch_axis(axes, epochs)
        drawn += [accuracy for accuracies in seeds for accuracy in accuracies]
        said.insert(0, f"{', '.join(each.settings)}: {means[-1]:.4f} after {epochs[-1]} epochs")
    if not drawn:
        return None
    page.spread(axes, drawn, largest=1)
    return page.svg(figure, "validation", f"Mean validation accuracy of the seeds, by epoch. {'; '.join(said)}.")


def validation(job: Job) -> list[tuple[int, float]]:
    """Epochs and accuracies; none if nothing was validated, or the file is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError), (job.folder / "metrics.csv").open() as file:
        return [(int(row["epoch"]), float(row["val_accuracy"])) for row in csv.DictReader(file)]
    return []


def test_accuracies(combinations: list[Combination]) -> Markup | None:
    """None if no run has finished."""
    shown = [each for each in combinations if each.row["test_accuracy_mean"] is not None]
    if not shown:
        return None
    figure = page.new_figure(height=80 + 22 * len(shown))
    axes = figure.subplots()
    axes.set_title("Test accuracy, %")
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    said = []
    for y, each in enumerate(shown):
        colour = page.COLOURS[each.colour][0]
        accuracies = [100 * job.metrics["test"]["accuracy"] for job in each.jobs]
        middle, deviation = each.row["test_accuracy_mean"], each.row["test_accuracy_sd"]
        axes.errorbar(100 * middle, y, xerr=100 * (deviation or 0), color=colour, fmt="|", markersize=11)
        axes.plot(accuracies, [y] * len(accuracies), "o", color=colour, alpha=0.5, markeredgewidth=0)
        said.append(f"{', '.join(each.settings)}: {', '.join(f'{accuracy:.2f}' for accuracy in accuracies)}")
    labels = [", ".join(each.settings) for each in shown]
    labels = [label if len(label) <= LONGEST else f"{label[:11]}…{label[-12:]}" for label in labels]
    axes.set_yticks(range(len(shown)), labels)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    return page.svg(figure, "test", f"Test accuracy of each seed, in %. {'; '.join(said)}.")
