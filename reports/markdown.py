"""Write Markdown tables."""

from collections.abc import Sequence


def table(head: Sequence[str], *rows: Sequence[str]) -> str:
    """Return a table whose first column is aligned to the left and the others, which hold numbers, to the right.

    It is ours because rich's `box.MARKDOWN` cannot align a column (`---:`) and cuts cells at the console's width.
    """
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
