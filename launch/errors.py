"""The errors of a run, the one line that reports each, and the exit statuses."""

import errno
import os
import shlex
import sys
import traceback
from pathlib import Path

from data import DataError
from models import WeightsError


class SettingsError(Exception):
    """A wrong command or configuration."""


class MachineError(Exception):
    """The machine lacks what the run needs: a device, space, a permission."""


class RunFailed(Exception):
    """The run itself failed, for example by a loss that is not finite."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM stopped the run; `status` is the exit status, `folder` what can be resumed.

    Like KeyboardInterrupt it is no Exception: a sweep continues after a job that failed, but not after this.
    """

    def __init__(self, message: str, status: int, folder: Path | None = None) -> None:
        super().__init__(message)
        self.status, self.folder = status, folder


class ProcessLost(Exception):
    """Another process of the run died; `folder` is what can be resumed."""

    def __init__(self, message: str, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder


STATUS = {RunFailed: 1, SettingsError: 2, DataError: 3, WeightsError: 4, MachineError: 5, ProcessLost: 6}
MACHINE_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM}


def shown(path: Path) -> str:
    """Return the path as a user in the current folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def report(error: BaseException, rank: int = 0) -> tuple[int, str]:
    """Print one line on standard error; return the exit status and the line. REFZOO_DEBUG=1 adds the traceback.

    Of several processes the first one, of rank 0, reports what happened to all of them.
    """
    if os.environ.get("REFZOO_DEBUG") == "1":
        traceback.print_exception(error)
    status, message = _explain(error)
    message = " ".join(message.split())
    if not rank:
        sys.stderr.write(f"refzoo: {message}\n")
    elif not isinstance(error, Interrupted | RunFailed | ProcessLost | SettingsError):
        sys.stderr.write(f"refzoo: process {rank}: {message}\n")
    return status, message


def _explain(error: BaseException) -> tuple[int, str]:
    if isinstance(error, Interrupted | ProcessLost):
        resume = shlex.quote(f"resume={shown(error.folder)}") if error.folder else ""
        status = error.status if isinstance(error, Interrupted) else STATUS[ProcessLost]
        return status, f"{error}. Resume with: uv run train.py {resume}" if resume else f"{error}."
    if type(error) in STATUS:
        return STATUS[type(error)], str(error)
    if isinstance(error, OSError) and error.errno in MACHINE_ERRNO:
        return 5, f"{error.strerror}: {error.filename or 'the output'}. Free some space, or choose another folder."
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, on CUDA
        or "can't allocate memory" in str(error)  # torch's, on the CPU
    ):
        return 5, f"out of memory ({error}). Try a smaller batch_size or image_size."
    return 1, f"{type(error).__name__}: {error} (REFZOO_DEBUG=1 shows where)"
