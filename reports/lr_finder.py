"""Read the losses of a learning-rate range test: which rates are good, in words and as a picture."""

import math
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from matplotlib.ticker import LogLocator

from . import page

SMOOTHING = 0.9  # decay of the moving average of the losses
WINDOW = 10  # steps, over which the fall of the loss is measured
VALLEY = 0.1  # its height, as a share of the fall of the smoothed loss
LEAST_FALL = 0.1  # of the loss, as a share of it


class Finding(NamedTuple):
    """Hold the smoothed losses, and the rates that they single out."""

    smoothed: list[float]
    steepest: float  # where the loss falls fastest
    valley: tuple[float, float]  # the rates between which it is near its lowest value
    suggested: float | None  # their geometric mean; None if the loss has hardly fallen


def read(rates: list[float], losses: list[float]) -> Finding:
    smoothed, before = smooth(losses), mean(losses[:WINDOW])
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__)
    floor = smoothed[lowest] + VALLEY * (before - smoothed[lowest])
    begin = next(i for i, loss in enumerate(smoothed) if loss <= floor)
    end = next((i for i in range(lowest, len(smoothed)) if smoothed[i] > floor), len(smoothed)) - 1
    inner = range(WINDOW, len(losses) - WINDOW // 2)
    steepest = max(inner, key=lambda i: smoothed[i - WINDOW // 2] - smoothed[i + WINDOW // 2], default=0)
    suggested = math.sqrt(rates[begin] * rates[end]) if smoothed[lowest] < (1 - LEAST_FALL) * before else None
    return Finding(smoothed, rates[steepest], (rates[begin], rates[end]), suggested)


def smooth(losses: list[float]) -> list[float]:
    """Return the moving average after each step, without its bias towards 0: Adam's correction."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**step))
    return smoothed


def text(finding: Finding, rates: list[float]) -> str:
    """Return the lines for the terminal."""
    low, high = finding.valley
    lines = [
        f"{len(rates)} steps at learning rates from {rates[0]:.1g} to {rates[-1]:.2g}",
        f"the loss falls fastest at {finding.steepest:.2g}, is lowest from {low:.2g} on, and rises above {high:.2g}",
    ]
    if finding.suggested:
        return "\n".join([*lines, f"suggested: optimizer.lr={finding.suggested:.2g}"])
    return "\n".join([*lines, "suggested: none, because the loss hardly falls in so few steps"])


def draw(finding: Finding, rates: list[float], losses: list[float], title: str, picture: Path) -> None:
    """Draw the losses over the rates into a PNG file."""
    colours = {name: light for name, (light, _) in page.COLOURS.items()}
    with page.style():
        figure = page.new_figure(height=230)
        axes = figure.subplots()
        axes.axvspan(*finding.valley, color=colours["blue"], alpha=0.12, linewidth=0)
        axes.plot(rates, losses, color=colours["muted"], linewidth=0.8, alpha=0.6)
        axes.plot(rates, finding.smoothed, color=colours["blue"])
        if finding.suggested:
            axes.axvline(finding.suggested, color=colours["vermilion"], linewidth=1.2)
            axes.text(finding.suggested, 0, f" {finding.suggested:.2g}", color=colours["vermilion"], va="bottom")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=9))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.plot(finding.steepest, finding.smoothed[rates.index(finding.steepest)], "o", color=colours["blue"])
        axes.set_ylim(0, 1.3 * max(losses[:10]))
        axes.set_xlabel("learning rate; dot: the steepest fall, blue: the valley")
        axes.set_title(title)
        figure.savefig(picture, format="png", dpi=200, facecolor="white")
