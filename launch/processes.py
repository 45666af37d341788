"""More than one process: who starts them, what each is told, and how they agree.

Each learns its rank by torchrun's environment variables, set by torchrun or by `start`. Importing this does not
import torch.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from . import errors
from .errors import STATUS, Interrupted, ProcessLost, SettingsError

PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
RENDEZVOUS_DIR = "REFZOO_RENDEZVOUS_DIR"  # a folder by which the processes of `start` find each other
RUN = "run"  # in it: a file that names the run's folder
GRACE = 30  # seconds that the others have to save and say what is wrong when one has ended before its time


class RankInfo(NamedTuple):
    """Of this process among all of its run, and among those on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def rank_info() -> RankInfo | None:
    """None where this process was started as the only one. Raises SettingsError for what torchrun would not say."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    said = {name: os.environ[name] for name in names if name in os.environ}
    if len(said) < len(names):
        return None
    if not all(value.isdecimal() for value in said.values()):
        raise SettingsError(f"the environment says {said}, expected numbers. Unset them, or let torchrun set them.")
    return RankInfo(*map(int, said.values()))


def start(arguments: list[str], count: int) -> int:
    """`train.py` with these arguments in `count` processes of this machine; the exit status of them all.

    The first one speaks for all, and what another says is shown only if it was that one's fault. They are in process
    groups of their own, so that a signal from the terminal reaches them once: through this process, which passes on
    what it gets. None outlives another by more than GRACE.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        remarks = [stack.enter_context(Path(folder, f"{rank}").open("w+")) for rank in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        received: list[int] = []

        def pass_on(number: int, _: FrameType | None = None) -> None:
            for process in processes:
                process.send_signal(signal.SIGKILL if received else number)  # a second one is meant to end them at once
            received.append(number)

        stack.enter_context(_handling(pass_on))
        for rank in range(count):
            rank_variables = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments],
                env={
                    **os.environ,
                    **{key: str(value) for key, value in rank_variables.items()},
                    RENDEZVOUS_DIR: folder,
                },
                stdin=subprocess.PIPE,  # its end is the end of this process, whatever that was
                stderr=remarks[rank] if rank else None,
                process_group=0,
            )
            assert process.stdin
            stack.enter_context(process.stdin)
            processes.append(process)
            if received:  # before there was this one
                process.send_signal(received[0])
        ended = _wait(processes)
        first = processes[0].returncode
        if first == 0:
            return 0
        causes = [rank for rank, code in ended.items() if code not in (0, STATUS[ProcessLost])]
        if first not in (STATUS[ProcessLost], -signal.SIGKILL):
            causes = [0]  # said already, unless by a signal
        cause = causes[0] if causes else 0
        if cause:
            remarks[cause].seek(0)
            sys.stderr.write(remarks[cause].read())
        if first < 0 and received:
            raise Interrupted(f"stopped by {signal.Signals(received[0]).name}", 128 + received[0])
        if first < 0:
            code = ended.get(cause, first)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            run = Path(folder, RUN)
            raise ProcessLost(f"process {cause} of {count} {how}", Path(run.read_text()) if run.exists() else None)
        return max(ended.get(cause, first), 0) or first


def _wait(processes: list[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Until all have ended; the exit status of those that were not ended here, in the order in which they ended."""
    ended: dict[int, int] = {}
    deadline = float("inf")
    while len(ended) < len(processes):
        for rank, process in enumerate(processes):
            if rank not in ended and process.poll() is not None:
                ended[rank] = process.returncode
                if rank == 0 and process.returncode:
                    deadline = 0  # without the first there is nothing to save
                elif rank == 0 or process.returncode:
                    deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
                process.wait()
            break
        time.sleep(0.05)
    return ended


@contextlib.contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def configure_worker() -> None:
    """Let only the first process print, and none outlive the one that started it."""
    here = rank_info()
    if here and here.rank:
        errors.rank = here.rank
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if here and RENDEZVOUS_DIR in os.environ:
        threading.Thread(target=_stop_when_left_alone, daemon=True).start()


def send_run_dir_to_launcher(folder: Path) -> None:
    """Which folder the run has, for the case that no process of it can say so any more."""
    if RENDEZVOUS_DIR in os.environ:
        Path(os.environ[RENDEZVOUS_DIR], RUN).write_text(str(folder), encoding="utf-8")


def _stop_when_left_alone() -> None:
    os.read(0, 1)  # standard input ends when the other end is closed; nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)
