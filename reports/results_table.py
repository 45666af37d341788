"""Generate the results tables of README.md and docs/results.md from the cards of published weights, without torch."""

from pathlib import Path

import data
from launch import atomic, errors
from models import WeightsError, cards

from .tables import markdown
from .targets import TARGETS, WHY_UNDER_THE_FLOOR, targets

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- results: begin -->\n", "<!-- results: end -->"
Files = dict[str, cards.WeightsFile]  # by recipe


def is_under_floor(file: cards.WeightsFile) -> bool:
    floor, _ = targets(file.path.stem) or (0, 100)
    return test_accuracy(file) < floor


def lacks_reason(file: cards.WeightsFile) -> bool:
    return is_under_floor(file) and file.path.stem not in WHY_UNDER_THE_FLOOR


def test_accuracy(file: cards.WeightsFile) -> float:
    """Return the test accuracy of the stored weights in %."""
    return 100 * file.card["metrics"]["test"]["accuracy"]


def read_published() -> Files:
    """Read the published weights that have targets, in the order of the zoo; report damaged files and skip them."""
    files, published = {}, cards.published()
    for name in (f"{network}-{data_set}" for network in TARGETS for data_set in data.DATASETS):
        try:
            if name in published:
                files[name] = cards.read(name)
        except WeightsError as error:
            errors.report(error)
    return files


def short_table(files: Files) -> str:
    """Return the table of README.md: a row per network, a column of test accuracies in % per data set."""
    rows = []
    for network in TARGETS:
        found = [files.get(f"{network}-{data_set}") for data_set in data.DATASETS]
        accuracies = [f"{test_accuracy(file):.2f}" if file else "no weights yet" for file in found]
        sizes = {f"{file.card['parameters']:,}": None for file in found if file}  # recipes may differ in size
        rows.append([f"`{network}`", *accuracies, " and ".join(sizes) or "-"])
    return markdown(["weights", *(f"{info.title}, %" for info in data.DATASETS.values()), "parameters"], *rows)


def long_table(files: Files) -> str:
    """Return the table of docs/results.md: a row per weights file, then why some of them are below their floors."""
    rows, reasons = [], ""
    for name, file in files.items():
        card, over = file.card, file.card["accuracy_over_seeds"]
        mean, sd = over["test"]["mean"], over["test"]["sd"]
        deviation = "" if sd is None else f" ± {100 * sd:.2f}"
        rows.append(
            [
                f"`{name}`",
                f"{test_accuracy(file):.2f}",
                f"{100 * mean:.2f}{deviation} ({len(over['seeds'])})",
                *(f"{target:.2f}" for target in targets(name) or ()),
                f"{card['parameters']:,}",
                f"{len(file.content) / 1e3:,.0f}",
                duration(card["train_seconds"]),
            ]
        )
        if is_under_floor(file):
            reasons += f"\n`{name}` is below its floor: {WHY_UNDER_THE_FLOOR.get(name, 'no reason is recorded')}.\n"
    head = ["weights", "test %", "mean ± sd (seeds)", "floor", "goal", "parameters", "kB", "training time"]
    return markdown(head, *rows) + reasons


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


PAGES = {ROOT / "README.md": short_table, ROOT / "docs" / "results.md": long_table}


def update_pages() -> None:
    """Write the tables of the current cards into the pages."""
    files = read_published()
    for page, make_table in PAGES.items():
        atomic.write(page, replace_table(page, make_table(files)).encode())


def replace_table(page: Path, new: str) -> str:
    """Return the page's text with `new` between its two marks. Raises SettingsError if the page lacks them."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise errors.SettingsError(f"{page} lacks the marks {BEGIN.strip()} and {END} around its results table.")
    return before + BEGIN + new + END + after
