"""The folder that a run leaves: one process owns it, and each file in it is whole at any moment."""

import contextlib
import fcntl
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from . import atomic
from .errors import MachineError, SettingsError, shown
from .resume import SWEEP_RECORD


class RunDir:
    """A folder that is this process's alone until the end of its context. Raises SettingsError if another has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = (path / ".lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by the system however the process ends
        except BlockingIOError:
            self.lock.close()
            raise SettingsError(f"another process is writing {path}. Wait for it, or start a run of its own.") from None

    @classmethod
    def claim(cls, run_dir: str | None, runs: Path, name: str, size: int) -> "RunDir":
        """`run_dir`, or a new `runs`/`name`, `-2` behind it if taken; for a run that writes `size` bytes at most.

        Raises SettingsError if `run_dir` already holds something, MachineError if it cannot be written or is too small.
        """
        wanted = require_empty(run_dir) if run_dir else runs
        try:
            _require_space(wanted, size)
            if run_dir is None:
                return cls(make_new(runs, name))
            wanted.mkdir(parents=True, exist_ok=True)
            return cls(wanted)
        except OSError as error:
            raise MachineError(f"{wanted} cannot be written ({error.strerror}). Choose a run_dir.") from None

    def __enter__(self) -> "RunDir":
        return self

    def __exit__(self, *_: Any) -> None:
        self.lock.close()

    def write(self, name: str, content: str | bytes) -> None:
        atomic.write(self.path / name, content.encode() if isinstance(content, str) else content)

    def __str__(self) -> str:
        return shown(self.path)


class ReadOnlyRunDir(RunDir):
    """The same folder to a process that does not write it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __exit__(self, *_: Any) -> None: ...

    def write(self, name: str, content: str | bytes) -> None: ...


def require_empty(run_dir: str) -> Path:
    """The folder that is meant. Raises SettingsError if it holds more than what a run leaves that died as it began."""
    wanted = Path(run_dir).expanduser().absolute()
    try:
        held = {file.name for file in wanted.iterdir()} if wanted.exists() else set()
    except OSError as error:
        raise MachineError(f"{wanted} cannot be written ({error.strerror}). Choose a run_dir.") from None
    if "config.yaml" in held or held - {".lock", "train.log", ".hydra", ".config.yaml.partial"}:
        resumable = "config.yaml" in held or SWEEP_RECORD in held
        next_step = f", or go on with resume={run_dir}" if resumable else ""
        raise SettingsError(f"run_dir={run_dir} already holds files. Name another folder{next_step}.")
    return wanted


def _require_space(path: Path, size: int) -> None:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if (free := shutil.disk_usage(existing).free) < size:
        raise MachineError(
            f"{path} has {free / 1e6:.0f} MB free, this run needs {size / 1e6:.0f} MB. Choose another run_dir."
        )


def make_new(runs: Path, name: str) -> Path:
    """`runs`/`name`, with `-2` behind it if that is taken."""
    runs.mkdir(parents=True, exist_ok=True)
    for attempt in count(1):
        path = runs / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError
