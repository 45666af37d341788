"""Start processes and forward signals to them; tell those of one run (`trainer=ddp`) their ranks.

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
from typing import Any, NamedTuple

from .errors import STATUS, Interrupted, MachineError, ProcessLost, SettingsError
from .signals import handling
from .threads import shared_by

POSIX = os.name == "posix"
PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
RENDEZVOUS_DIR = "REFZOO_RENDEZVOUS_DIR"  # names the folder by which the processes of `start` find each other
SIDE_BY_SIDE = "REFZOO_SIDE_BY_SIDE"  # set where several processes write on one terminal: none of them draws a bar
RUN = "run"  # in it: a file with the path of the run folder
GRACE = 30  # seconds that the others have to save and report when one process has died


class RankInfo(NamedTuple):
    """Hold the number of this process in its run and on its machine, and how many processes each of them has."""

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


class ProcessGroup:
    """Processes that get Ctrl-C and SIGTERM through this one: once each, where a terminal would send Ctrl-C twice.

    A second signal kills them. Windows has no such groups; there Ctrl-C reaches all processes of a console.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[Any]] = []
        self.received: list[int] = []

    def start(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(command, process_group=0 if POSIX else None, **options)
        self.processes.append(process)
        if self.received and POSIX:  # a signal came before this process was there
            process.send_signal(self.received[0])
        return process

    def forward(self, number: int, _: object = None) -> None:
        for process in self.processes if POSIX else ():
            process.send_signal(signal.SIGKILL if self.received else number)
        self.received.append(number)

    def interrupted(self) -> Interrupted:
        return Interrupted(f"stopped by {signal.Signals(self.received[0]).name}", 128 + self.received[0])


def run(command: list[str], **options: Any) -> int:
    """Run a command in a process; return its exit status. Raises Interrupted when it has ended after a signal."""
    group = ProcessGroup()
    with handling(group.forward):
        status = group.start(command, **options).wait()
    if group.received:
        raise group.interrupted()
    return status


def run_all(commands: list[list[str]]) -> int:
    """Run commands side by side; return the largest exit status, and print what its process wrote on standard error.

    Standard input of each closes when this process ends. Raises Interrupted when all have ended after a signal, and
    ProcessLost if another signal ended one of them.
    """
    group = ProcessGroup()
    with contextlib.ExitStack() as stack, handling(group.forward):
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in commands]
        for command, output in zip(commands, outputs, strict=True):
            environment = os.environ | ({SIDE_BY_SIDE: "1"} if len(commands) > 1 else {})
            process = group.start(command, env=environment, stdin=subprocess.PIPE, stderr=output)
            assert process.stdin
            stack.enter_context(process.stdin)
        statuses = [process.wait() for process in group.processes]
        if group.received:
            raise group.interrupted()
        if (lost := min(statuses)) < 0:
            raise ProcessLost(f"one of {len(commands)} processes was ended by {signal.Signals(-lost).name}")
        if status := max(statuses):
            outputs[statuses.index(status)].seek(0)
            sys.stderr.write(outputs[statuses.index(status)].read())
        return status


def start(arguments: list[str], count: int) -> int:
    """Run `train.py` with these arguments in `count` processes; return the exit status of the run.

    The first one reports for all, unless another one is the cause of a failure.
    """
    if not POSIX:
        raise MachineError("trainer=ddp needs Linux or macOS, whose signals end its processes together. Leave it out.")
    group = ProcessGroup()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(Path(folder, f"{rank}").open("w+")) for rank in range(count)]
        stack.enter_context(handling(group.forward))
        for rank in range(count):
            ranks = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            ranks |= {RENDEZVOUS_DIR: folder}
            process = group.start(
                [sys.executable, str(PROGRAM), *arguments],
                env=os.environ | shared_by(count) | {key: str(value) for key, value in ranks.items()},
                stdin=subprocess.PIPE,  # it closes when this process ends, for whatever reason
                stderr=outputs[rank] if rank else None,
            )
            assert process.stdin
            stack.enter_context(process.stdin)
        ended = _wait(group.processes)
        first = group.processes[0].returncode
        if first == 0:
            return 0
        causes = [rank for rank, code in ended.items() if code not in (0, STATUS[ProcessLost])]
        if first not in (STATUS[ProcessLost], -signal.SIGKILL):
            causes = [0]  # which has reported it, unless a signal ended it
        cause = causes[0] if causes else 0
        if cause:
            outputs[cause].seek(0)
            sys.stderr.write(outputs[cause].read())
        if first < 0 and group.received:
            raise group.interrupted()
        if first < 0:
            code = ended.get(cause, first)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            sent = Path(folder, RUN)
            run_dir = Path(sent.read_text(encoding="utf-8")) if sent.exists() else None
            raise ProcessLost(f"process {cause} of {count} {how}", run_dir)
        return max(ended.get(cause, first), 0) or first


def _wait(processes: list[subprocess.Popen[Any]]) -> dict[int, int]:
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


def rank() -> int:
    """Return the rank of this process; 0 where the environment has nonsense, which `rank_info` then reports."""
    try:
        ranks = rank_info()
    except SettingsError:
        return 0
    return ranks.rank if ranks else 0


def configure_worker() -> None:
    """Silence standard output in all processes but the first, and end this one when its launcher ends."""
    ranks = rank_info()
    if ranks and ranks.rank:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if ranks and RENDEZVOUS_DIR in os.environ:
        threading.Thread(target=stop_with_launcher, daemon=True).start()


def send_run_dir_to_launcher(folder: Path) -> None:
    """Tell `start` the run folder, for its message in case that no process can report any more."""
    if RENDEZVOUS_DIR in os.environ:
        Path(os.environ[RENDEZVOUS_DIR], RUN).write_text(str(folder), encoding="utf-8")


def stop_with_launcher() -> None:
    """End this process when the one that started it ends: run this in a thread."""
    os.read(0, 1)  # returns when the other end of standard input is closed; nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)
