"""Lay out tables: in Markdown, and for the terminal. The first column is aligned left, the others, numbers, right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def markdown(head: Sequence[str], *rows: Sequence[str]) -> str:
    """Return a Markdown table. It is ours: rich's has no alignment and cuts cells at the console's width."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def for_terminal(names: Sequence[str], numbers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table for rich's console with columns of names, which may wrap, and columns of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for head in names:
        table.add_column(head, overflow="fold")
    for head in numbers:
        table.add_column(head, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def percent(share: float | None, deviation: float | None = None) -> str:
    """Format a share in %, with its standard deviation if there is one; "-" for None."""
    if share is None:
        return "-"
    return f"{100 * share:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "")
