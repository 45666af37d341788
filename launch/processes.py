"""Start the processes of a run (`trainer=ddp`), and tell each of them its rank.

Ranks are torchrun's environment variables, set by torchrun or by `start`. That is our own because torchrun, also by its
Python interface, imports torch first, ends with status 1 whatever happened, and prints a report of its own.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from .errors import STATUS, Interrupted, MachineError, ProcessLost, SettingsError
from .signals import handling

PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
RENDEZVOUS_DIR = "REFZOO_RENDEZVOUS_DIR"  # names the folder by which the processes of `start` find each other
RUN = "run"  # in it: a file with the path of the run folder
GRACE = 30  # seconds that the others have to save and report when one process has died


class RankInfo(NamedTuple):
    """The number of this process in its run and on its machine, and how many processes each of them has."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def rank_info() -> RankInfo | None:
    """Return None for a run of one process. Raises SettingsError for ranks that are no numbers."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    found = {name: os.environ[name] for name in names if name in os.environ}
    if len(found) < len(names):
        return None
    if not all(value.isdecimal() for value in found.values()):
        raise SettingsError(f"the environment has {found}, expected numbers. Unset them, or let torchrun set them.")
    return RankInfo(*map(int, found.values()))


def start(arguments: list[str], count: int) -> int:
    """Run `train.py` with these arguments in `count` processes; return the exit status of the run.

    The first process reports for all; what another one prints is shown only if that one is the cause of a failure. Each
    has a process group of its own, so that a signal from the terminal reaches it once: through this process, which
    forwards it. None outlives another by more than GRACE seconds.
    """
    if os.name != "posix":
        raise MachineError("trainer=ddp needs Linux or macOS, whose signals end its processes together. Leave it out.")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(Path(folder, f"{rank}").open("w+")) for rank in range(count)]
        processes: list[subprocess.Popen[bytes]] = []
        received: list[int] = []

        def forward(number: int, _: FrameType | None = None) -> None:
            for process in processes:
                process.send_signal(signal.SIGKILL if received else number)  # a second signal ends them at once
            received.append(number)

        stack.enter_context(handling(forward))
        for rank in range(count):
            ranks = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            environment = {key: str(value) for key, value in ranks.items()} | {RENDEZVOUS_DIR: folder}
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments],
                env=os.environ | environment,
                stdin=subprocess.PIPE,  # it closes when this process ends, for whatever reason
                stderr=outputs[rank] if rank else None,
                process_group=0,
            )
            assert process.stdin
            stack.enter_context(process.stdin)
            processes.append(process)
            if received:  # a signal came before this process was there
                process.send_signal(received[0])
        ended = _wait(processes)
        first = processes[0].returncode
        if first == 0:
            return 0
        causes = [rank for rank, code in ended.items() if code not in (0, STATUS[ProcessLost])]
        if first not in (STATUS[ProcessLost], -signal.SIGKILL):
            causes = [0]  # which has reported it, unless a signal ended it
        cause = causes[0] if causes else 0
        if cause:
            outputs[cause].seek(0)
            sys.stderr.write(outputs[cause].read())
        if first < 0 and received:
            raise Interrupted(f"stopped by {signal.Signals(received[0]).name}", 128 + received[0])
        if first < 0:
            code = ended.get(cause, first)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            run = Path(folder, RUN)
            raise ProcessLost(f"process {cause} of {count} {how}", Path(run.read_text()) if run.exists() else None)
        return max(ended.get(cause, first), 0) or first


def _wait(processes: list[subprocess.Popen[bytes]]) -> dict[int, int]:
    """Wait until all have ended; return the exit status of those not killed here, by rank, in the order of ending."""
    ended: dict[int, int] = {}
    deadline = float("inf")
    while len(ended) < len(processes):
        for rank, process in enumerate(processes):
            if rank not in ended and process.poll() is not None:
                ended[rank] = process.returncode
                if rank == 0 and process.returncode:
                    deadline = 0  # without the first one nothing can be saved
                elif rank == 0 or process.returncode:
                    deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
                process.wait()
            break
        time.sleep(0.05)
    return ended


def configure_worker() -> None:
    """Silence standard output in all processes but the first, and end this one when its launcher ends."""
    ranks = rank_info()
    if ranks and ranks.rank:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if ranks and RENDEZVOUS_DIR in os.environ:
        threading.Thread(target=_stop_with_launcher, daemon=True).start()


def send_run_dir_to_launcher(folder: Path) -> None:
    """Tell `start` the run folder, for its message in case that no process can report any more."""
    if RENDEZVOUS_DIR in os.environ:
        Path(os.environ[RENDEZVOUS_DIR], RUN).write_text(str(folder), encoding="utf-8")


def _stop_with_launcher() -> None:
    os.read(0, 1)  # returns when the other end of standard input is closed; nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)
