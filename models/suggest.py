"""Suggest the valid word that is nearest to a wrong one."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """Return the end of an error message: the nearest valid word, and all valid words."""
    by_lower_case = {str(each).lower(): each for each in valid}
    nearest = get_close_matches(str(word).lower(), by_lower_case, n=1)
    suggestion = f", did you mean {by_lower_case[nearest[0]]!r}?" if nearest else "."
    return f"{suggestion} Valid: {', '.join(valid)}"
