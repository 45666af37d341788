"""Decide how many threads the processes of a program have."""

import os

THREADS = "OMP_NUM_THREADS"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_by(processes: int) -> dict[str, str]:
    """Return the environment in which each of `processes` has its share of the cores; the user's own setting wins."""
    return {} if THREADS in os.environ or processes == 1 else {THREADS: str(max(1, cores() // processes))}
