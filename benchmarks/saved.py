"""Figures that are saved as they come: a benchmark that was stopped goes on where it was."""

import json
from pathlib import Path
from typing import Any

from launch import atomic, errors

RESULTS = Path(__file__).resolve().with_name("results")


def go_on(name: str | None, new: dict[str, Any], *same: str) -> dict[str, Any]:
    """What was saved under this name, else `new`. Raises SettingsError if it was measured with another of `same`."""
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
