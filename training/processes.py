"""More than one process: who starts them, what each is told, and how they agree.

Each learns its place by torchrun's environment variables, set by torchrun or by `start`. Importing this does not
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
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from . import errors
from .errors import STATUS, Interrupted, MachineError, ProcessLost, RunFailed, SettingsError

PROGRAM = Path(__file__).resolve().parents[1] / "train.py"
MEETING_POINT = "REFZOO_MEETING_POINT"  # a folder by which the processes of `start` find each other
RUN = "run"  # in it: a file that names the run's folder
GRACE = 30  # seconds that the others have to save and say what is wrong when one has ended before its time


class Place(NamedTuple):
    """Of this process among all of its run, and among those on its machine."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def place() -> Place | None:
    """None where this process was started as the only one. Raises SettingsError for what torchrun would not say."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    said = {name: os.environ[name] for name in names if name in os.environ}
    if len(said) < len(names):
        return None
    if not all(value.isdecimal() for value in said.values()):
        raise SettingsError(f"the environment says {said}, expected numbers. Unset them, or let torchrun set them.")
    return Place(*map(int, said.values()))


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
            place = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments],
                env={**os.environ, **{key: str(value) for key, value in place.items()}, MEETING_POINT: folder},
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


def settle_in() -> None:
    """Let only the first process print, and none outlive the one that started it."""
    here = place()
    if here and here.rank:
        errors.rank = here.rank
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
    if here and MEETING_POINT in os.environ:
        threading.Thread(target=_stop_when_left_alone, daemon=True).start()


def tell_starter(folder: Path) -> None:
    """Which folder the run has, for the case that no process of it can say so any more."""
    if MEETING_POINT in os.environ:
        Path(os.environ[MEETING_POINT], RUN).write_text(str(folder), encoding="utf-8")


def _stop_when_left_alone() -> None:
    os.read(0, 1)  # standard input ends when the other end is closed; nothing is ever written
    os.kill(os.getpid(), signal.SIGTERM)


class Peers:
    """All processes of this run, as one of them sees them. What they tell each other here never waits for a GPU."""

    def __init__(self, rank: int = 0, world: int = 1, group: Any = None) -> None:
        self.rank, self.world, self.group = rank, world, group
        self._own: list[Callable[[], int]] = []
        self._largest: list[int] = []

    def from_first(self, value: Any) -> Any:
        """What the first process calls this with."""
        if not self.group:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def largest(self, own: Callable[[], int]) -> Callable[[], int]:
        """Asked for the largest `own()` of all processes, as of the last `exchange`; of one process, as of now."""
        if not self.group:
            return own
        index = len(self._own)
        self._own.append(own)
        self._largest.append(0)
        return lambda: self._largest[index]

    def exchange(self) -> None:
        import torch
        import torch.distributed as dist

        values = torch.tensor([own() for own in self._own])
        dist.all_reduce(values, dist.ReduceOp.MAX, self.group)
        self._largest = values.tolist()

    @contextlib.contextmanager
    def noticing_a_loss(self, folder: Path) -> Iterator[None]:
        """Raises ProcessLost for what a collective operation raises when another process is gone."""
        try:
            yield
        except RuntimeError as error:
            from torch.distributed import DistError

            if self.group and ("gloo" in str(error) or isinstance(error, DistError)):
                raise ProcessLost("another process of this run ended before its time", folder) from error
            raise

    def leave(self) -> None:
        """Once there is nothing left to do together."""
        if self.group:
            import torch.distributed as dist

            dist.destroy_process_group()

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """When all stop, none is gone before the first has written why: torchrun would end that one at once."""
        if self.group and isinstance(error, Interrupted | RunFailed):
            import torch.distributed as dist

            with contextlib.suppress(RuntimeError):  # after so long, or if it is gone itself
                dist.monitored_barrier(self.group, timeout=timedelta(seconds=5))


ALONE = Peers()


def join(accelerator: str) -> Peers:
    """Meet the other processes. Raises MachineError where there are fewer GPUs than processes."""
    here = place()
    assert here is not None
    import torch
    import torch.distributed as dist

    if accelerator == "cuda":
        if here.local_world > (found := torch.cuda.device_count()):
            raise MachineError(
                f"trainer.devices={here.local_world} needs as many GPUs, found {found}. "
                f"Take trainer.devices={found}, or trainer.accelerator=cpu."
            )
        torch.cuda.set_device(here.local_rank)
    point = f"file://{os.environ[MEETING_POINT]}/store" if MEETING_POINT in os.environ else "env://"
    backend = "nccl" if accelerator == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=point, rank=here.rank, world_size=here.world)
    return Peers(here.rank, here.world, dist.new_group(backend="gloo"))
