"""The folder that a run leaves: one run owns it, and each file in it is whole at any moment."""

import contextlib
import os
from itertools import count
from pathlib import Path

from .errors import MachineError, SettingsError


class RunFolder:
    """`runs/<name>`, `-2` behind it if taken, or `run_dir` where that is given. Made when it is claimed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def claim(cls, run_dir: str | None, runs: Path, name: str) -> "RunFolder":
        """Raises SettingsError if `run_dir` already holds something, MachineError if it cannot be written."""
        try:
            if run_dir is None:
                return cls(_make_new(runs, name))
            path = Path(run_dir).absolute()
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise SettingsError(f"run_dir={run_dir} already holds files. Name another folder, or leave it out.")
            return cls(path)
        except OSError as error:
            raise MachineError(f"{run_dir or runs} cannot be written ({error.strerror}). Choose a run_dir.") from None

    def write(self, name: str, content: str | bytes) -> None:
        """Replace a file at once: whoever reads it, and whenever the run dies, finds the old or the new one whole."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        temporary = target.with_name(f".{target.name}.partial")
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def __str__(self) -> str:
        """As a person at this terminal would write it."""
        here = Path.cwd()
        return str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path)


def _make_new(runs: Path, name: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    for attempt in count(1):
        path = runs / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError
