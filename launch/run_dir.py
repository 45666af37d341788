"""Create and lock the folder of a run: one process writes it, and each file in it is complete at any moment."""

import contextlib
import hashlib
import json
import re
import shutil
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from . import atomic
from .errors import Interrupted, MachineError, SettingsError, shown

SWEEP_RECORD = "sweep.yaml"  # of a sweep's folder, as config.yaml is of a run's
JOB_PREFIX = ("model", "data", "seed")  # what every job's name starts with
LONGEST_NAME = 200  # characters; most file systems allow 255 bytes


class RunDir:
    """Lock a folder until the end of the context, unless read-only. Raises SettingsError if it is locked already."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        from filelock import FileLock, Timeout  # a tenth of a second that --help need not wait for

        self.path, self.read_only = path, read_only
        self._lock = FileLock(path / ".lock")  # the system releases it however the process ends
        try:
            if not read_only:
                self._lock.acquire(timeout=0)
        except Timeout:
            raise SettingsError(f"another process is writing {path}. Wait for it, or choose another run_dir.") from None

    @classmethod
    def create(cls, run_dir: str | None, runs: Path, name: str, size: int) -> "RunDir":
        """Create `run_dir`, or else `runs`/`name` (with `-2` appended if taken), for a run that writes `size` bytes."""
        wanted = require_empty(run_dir) if run_dir else runs
        try:
            _require_space(wanted, size)
            if run_dir is None:
                return cls(make_new(runs, name))
            wanted.mkdir(parents=True, exist_ok=True)
            return cls(wanted)
        except OSError as error:
            raise MachineError(f"{wanted} cannot be written ({error.strerror}). Choose another run_dir.") from None

    def __enter__(self) -> "RunDir":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Interrupted) and is_run(self.path):
            error.folder = self.path
        self._lock.release()

    def write(self, name: str, content: str | bytes) -> None:
        if not self.read_only:
            atomic.write(self.path / name, content.encode() if isinstance(content, str) else content)

    def __str__(self) -> str:
        return shown(self.path)


def require_empty(run_dir: str) -> Path:
    """Return the absolute path of a folder. Raises SettingsError unless it is empty, or a run failed at its start."""
    wanted = Path(run_dir).expanduser().absolute()
    try:
        held = {file.name for file in wanted.iterdir()} if wanted.exists() else set()
    except OSError as error:
        raise MachineError(f"{wanted} cannot be written ({error.strerror}). Choose another run_dir.") from None
    if "config.yaml" in held or held - {".lock", "train.log", ".hydra", ".config.yaml.partial"}:
        resumable = "config.yaml" in held or SWEEP_RECORD in held
        next_step = f", or resume it with resume={run_dir}" if resumable else ""
        raise SettingsError(f"run_dir={run_dir} already holds files. Choose another folder{next_step}.")
    return wanted


def _require_space(path: Path, size: int) -> None:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if (free := shutil.disk_usage(existing).free) < size:
        raise MachineError(
            f"{path} has {free / 1e6:.0f} MB free, this run needs {size / 1e6:.0f} MB. Choose another run_dir."
        )


def make_new(parent: Path, name: str) -> Path:
    """Create and return `parent`/`name`, with `-2` (or `-3`, ...) appended if that is taken."""
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in count(1):
        path = parent / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / ".hydra" / "overrides.yaml").is_file()


def validation_accuracy(folder: Path) -> float | None:
    """Return that of a finished run, None if it has set no images aside."""
    metrics = json.loads((folder / "metrics.json").read_bytes())
    return metrics["val"] and metrics["val"]["accuracy"]


def is_sweep(folder: Path) -> bool:
    return (folder / SWEEP_RECORD).is_file()


def job_name(config: Any, swept: str = "") -> str:
    """Return the name of a run's folder; `swept` is Hydra's name for the overrides in which a sweep's jobs differ."""
    name = f"{config.model.name}_{config.data.name}_seed{config.seed}" + (f"_{swept}" if swept else "")
    name = re.sub(r"[^\w.,=-]", "-", re.sub(r"[\[\]{}'\"+\s]", "", name))
    if len(name) > LONGEST_NAME:
        return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name


def now() -> str:
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
