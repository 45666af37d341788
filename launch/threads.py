"""Decide how many threads the processes of a program have. What the user sets wins: `threads=`, then OMP_NUM_THREADS.

Threads wait for each other at every operation. Where another process has the core of one of them, all are held up, and
fewer threads are faster: benchmarks/contention.py measures it.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple

THREADS = "OMP_NUM_THREADS"
STAT = Path("/proc/stat")  # Linux; elsewhere all cores count as idle
SHORTEST = 0.2  # seconds to measure: the system counts hundredths
BUSY = (0, 1, 2, 5, 6, 7)  # its columns behind the name of a core: user, nice, system, irq, softirq, steal


def core_numbers() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cores() -> int:
    return len(core_numbers())


class CpuTimes(NamedTuple):
    """Hold what the cores of this process have done until now, in seconds."""

    now: float
    busy: float  # of all processes, summed over the cores
    own: float  # of this process, and of those that it started and that have ended

    @classmethod
    def read(cls) -> "CpuTimes | None":
        """Return None where the system does not say."""
        try:
            lines = [line.split() for line in STAT.read_text(encoding="ascii").splitlines()]
            wanted = {f"cpu{number}" for number in core_numbers()}
            ticks = sum(int(line[1 + column]) for line in lines if line[0] in wanted for column in BUSY)
            busy = ticks / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return None
        return cls(time.monotonic(), busy, sum(os.times()[:4]))


STARTED = CpuTimes.read()  # when the program began to import


def idle_cores(since: CpuTimes | None = STARTED) -> int:
    """Return how many cores, 1 at least, other processes have left idle since then; all if this is not known."""
    until = CpuTimes.read()
    if since is None or until is None or until.now - since.now < SHORTEST:
        return cores()
    others = (until.busy - since.busy - (until.own - since.own)) / (until.now - since.now)
    return min(cores(), max(1, int(cores() - others + 0.5)))


def given(wanted: int | str = "auto", recorded: int | None = None) -> int | None:
    """Return the threads that are wanted, that OMP_NUM_THREADS says, or that the resumed run had; None: any number."""
    setting = os.environ.get(THREADS, "").partition(",")[0]
    if wanted != "auto":
        return int(wanted)
    return int(setting) if setting.isdecimal() and int(setting) else recorded


def shared_by(processes: int) -> dict[str, str]:
    """Return the environment in which each of `processes` has its share of the cores; the user's own setting wins."""
    return {} if THREADS in os.environ or processes == 1 else {THREADS: str(max(1, cores() // processes))}
