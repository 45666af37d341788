"""Let the processes of a run act together: join, exchange numbers, detect that one has died."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from launch.errors import Interrupted, MachineError, ProcessLost, RunFailed
from launch.processes import RENDEZVOUS_DIR, rank_info


class Peers:
    """All processes of this run, as one of them sees them. They exchange over gloo, which never waits for a GPU."""

    def __init__(self, rank: int = 0, world: int = 1, group: Any = None) -> None:
        self.rank, self.world, self.group = rank, world, group
        self._own: list[Callable[[], int]] = []
        self._largest: list[int] = []

    def broadcast(self, value: Any) -> Any:
        """Return the value that the first process passes."""
        if not self.group:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def reduce_max(self, own: Callable[[], int]) -> Callable[[], int]:
        """Return a function that gives the largest `own()` of all processes at the last `sync`; of one process, now."""
        if not self.group:
            return own
        index = len(self._own)
        self._own.append(own)
        self._largest.append(0)
        return lambda: self._largest[index]

    def sync(self) -> None:
        values = torch.tensor([own() for own in self._own])
        dist.all_reduce(values, dist.ReduceOp.MAX, self.group)
        self._largest = values.tolist()

    @contextlib.contextmanager
    def detect_lost_process(self, folder: Path) -> Iterator[None]:
        """Raise ProcessLost for what a collective operation raises when another process has died."""
        try:
            yield
        except RuntimeError as error:
            if self.group and ("gloo" in str(error) or isinstance(error, dist.DistError)):
                raise ProcessLost("another process of this run died", folder) from error
            raise

    def leave(self) -> None:
        """Leave the others, when nothing remains to be done together."""
        if self.group:
            dist.destroy_process_group()

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wait until the first process has reported why all stop: torchrun ends it as soon as another one has ended."""
        if self.group and isinstance(error, Interrupted | RunFailed):
            with contextlib.suppress(RuntimeError):  # it has died, or takes too long
                dist.monitored_barrier(self.group, timeout=timedelta(seconds=5))


ALONE = Peers()


def join(accelerator: str) -> Peers:
    """Meet the other processes. Raises MachineError where there are fewer GPUs than processes."""
    ranks = rank_info()
    assert ranks is not None
    if accelerator == "cuda":
        if ranks.local_world > (found := torch.cuda.device_count()):
            raise MachineError(
                f"trainer.devices={ranks.local_world} needs as many GPUs, found {found}. "
                f"Take trainer.devices={found}, or trainer.accelerator=cpu."
            )
        torch.cuda.set_device(ranks.local_rank)
    launcher_dir = os.environ.get(RENDEZVOUS_DIR)
    method = f"file://{launcher_dir}/store" if launcher_dir else "env://"
    backend = "nccl" if accelerator == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=method, rank=ranks.rank, world_size=ranks.world)
    return Peers(ranks.rank, ranks.world, dist.new_group(backend="gloo"))
