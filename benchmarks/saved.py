"""Save the results of a benchmark after every turn, so that a stopped one can be resumed."""

import json
from pathlib import Path
from typing import Any

from launch import atomic, errors

RESULTS = Path(__file__).resolve().with_name("results")


def load(name: str | None, new: dict[str, Any], *same: str) -> dict[str, Any]:
    """Load the results saved under this name, or return `new` if there are none.

    Raises SettingsError if they differ from `new` in a key of `same`.
    """
    file = RESULTS / f"{name}.json"
    if not name or not file.exists():
        return new
    old = json.loads(file.read_bytes())
    for key in same:
        if old[key] != new[key]:
            raise errors.SettingsError(
                f"{errors.shown(file)} was measured with another {key.rstrip('s')}. Give --save another name."
            )
    return old


def save(name: str, results: dict[str, Any], markdown: str) -> None:
    for ending, text in (("md", markdown), ("json", json.dumps(results, indent=1) + "\n")):
        atomic.write(RESULTS / f"{name}.{ending}", text.encode())
