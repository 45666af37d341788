"""Style the HTML pages of runs and sweeps: colours, figures as SVG, and templates."""

import base64
import io
import re
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.style
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

# The hues of Okabe & Ito, "Color Universal Design", 2008, which colour-blind people can tell apart, made darker or
# lighter until each but `line` has a contrast of 3 : 1 with the background (`paper`), and those of text one of 4.5 : 1.
COLOURS = {  # on a light background, on a dark one
    "paper": ("#fdfdfc", "#14171b"),
    "ink": ("#1b1f24", "#e4e7ea"),
    "muted": ("#5c646e", "#9aa3ad"),
    "line": ("#dcdfe3", "#31373e"),
    "blue": ("#0072b2", "#56b4e9"),
    "vermilion": ("#d55e00", "#f08a48"),
    "green": ("#00805c", "#2fc398"),
    "purple": ("#a8457f", "#e08bc0"),
    "amber": ("#946500", "#e6b422"),
}
SERIES = ("blue", "vermilion", "green", "purple", "amber")
STYLE = {
    "svg.fonttype": "none",  # text, in the page's font, not paths
    "svg.hashsalt": "refzoo",  # or ids are random
    "text.parse_math": False,
    "text.color": COLOURS["ink"][0],
    "font.size": 11,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 4 / 72,
    "axes.edgecolor": COLOURS["line"][0],
    "axes.labelcolor": COLOURS["muted"][0],
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"][0],
    "xtick.color": COLOURS["line"][0],
    "ytick.color": COLOURS["line"][0],
    "xtick.labelcolor": COLOURS["muted"][0],
    "ytick.labelcolor": COLOURS["muted"][0],
    "ytick.left": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
}
HIDDEN_KEYS = ("run_dir", "resume")  # they say where a run is, not what it is
WIDTH = 360  # of a figure in pixels: that of a phone, and a third of a wide page


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved; the user's matplotlibrc is ignored."""
    return matplotlib.style.context([STYLE], after_reset=True)  # type: ignore[arg-type]


def new_figure(height: float) -> Figure:
    """Create a figure of WIDTH x height pixels, without pyplot, which would keep it in memory."""
    return Figure(figsize=(WIDTH / 72, height / 72))


def svg(figure: Figure, name: str, label: str) -> Markup:
    """Return the figure as an SVG element that takes the page's colours and font.

    `name` is put before its ids, which must be unique on the page; `label` describes the figure to screen readers.
    """
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    drawing = file.getvalue()
    box = re.search(r'viewBox="[^"]*"', drawing)
    assert box
    drawing = drawing[drawing.index(">", box.end()) + 1 :]  # HTML needs no XML namespaces
    drawing = re.sub(r'( id="|url\(#|xlink:href="#)', lambda match: f"{match[0]}{name}-", drawing)
    for colour, (light, _) in COLOURS.items():
        drawing = drawing.replace(f": {light}", f": var(--{colour})")
    return Markup(f'<svg {box[0]} role="img" aria-label="{escape(label)}">{drawing}')


def command_line(overrides: list[str], *flags: str) -> str:
    """Return the command that reproduces the run or the sweep."""
    kept = [each for each in overrides if each.partition("=")[0] not in HIDDEN_KEYS]
    return shlex.join(["uv", "run", "train.py", *flags, *kept])


def fill(template: str, **values: Any) -> str:
    """Render a file of reports/templates/. All values are escaped, except `Markup`."""
    return read_template(Path(__file__).with_name("templates") / template).render(colours=COLOURS, **values)


def read_template(path: Path) -> jinja2.Template:
    """Return a template; a value that it lacks is an error, and all values are escaped, except `Markup`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(path.name)


def png_address(pixels: np.ndarray) -> str:
    """Encode uint8 pixels, (H, W) or (H, W, 3 or 4), as a PNG in a `data:` address."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def epoch_axis(axes: Axes, epochs: list[int]) -> None:
    """Label the x axis, with whole epochs as ticks."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)


def use_log_axis(axes: Axes, values: Iterable[float], limit: float = 0) -> None:
    """Make the y axis logarithmic if the distances of `values` from their limit (0 or 1) differ more than tenfold.

    This shows the small changes late in training. An accuracy of 1 or a loss of 0 keeps the axis linear.
    """
    distances = np.abs(np.array(list(values)) - limit)
    if distances.min() == 0 or distances.max() < 10 * distances.min():
        return
    ticks = np.array(LogLocator(subs=(1, 2, 5)).tick_values(distances.min(), distances.max()))
    if not limit:
        axes.set_yscale("log")
    else:
        ticks = limit - ticks
        functions = (lambda y: -np.log10(np.maximum(limit - y, 1e-9)), lambda scaled: limit - 10**-scaled)
        axes.set_yscale("function", functions=functions)
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axes.yaxis.set_minor_locator(NullLocator())
