"""What the processes of one run do together: join, exchange numbers, notice that one is gone."""

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
    """All processes of this run, as one of them sees them. What they tell each other here never waits for a GPU."""

    def __init__(self, rank: int = 0, world: int = 1, group: Any = None) -> None:
        self.rank, self.world, self.group = rank, world, group
        self._own: list[Callable[[], int]] = []
        self._largest: list[int] = []

    def broadcast(self, value: Any) -> Any:
        """What the first process calls this with."""
        if not self.group:
            return value

        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def reduce_max(self, own: Callable[[], int]) -> Callable[[], int]:
        """Asked for the largest `own()` of all processes, as of the last `exchange`; of one process, as of now."""
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
            dist.destroy_process_group()

    def __enter__(self) -> "Peers":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """When all stop, none is gone before the first has written why: torchrun would end that one at once."""
        if self.group and isinstance(error, Interrupted | RunFailed):
            with contextlib.suppress(RuntimeError):  # after so long, or if it is gone itself
                dist.monitored_barrier(self.group, timeout=timedelta(seconds=5))


ALONE = Peers()


def join(accelerator: str) -> Peers:
    """Meet the other processes. Raises MachineError where there are fewer GPUs than processes."""
    here = rank_info()
    assert here is not None

    if accelerator == "cuda":
        if here.local_world > (found := torch.cuda.device_count()):
            raise MachineError(
                f"trainer.devices={here.local_world} needs as many GPUs, found {found}. "
                f"Take trainer.devices={found}, or trainer.accelerator=cpu."
            )
        torch.cuda.set_device(here.local_rank)
    point = f"file://{os.environ[RENDEZVOUS_DIR]}/store" if RENDEZVOUS_DIR in os.environ else "env://"
    backend = "nccl" if accelerator == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=point, rank=here.rank, world_size=here.world)
    return Peers(here.rank, here.world, dist.new_group(backend="gloo"))
