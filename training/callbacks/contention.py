"""Say that other processes take the cores of this run's threads."""

from typing import Any

from lightning.pytorch.callbacks import Callback

from launch import threads

from ..log import log


class Contention(Callback):
    """Logs one line after the first epoch in which others left fewer cores idle than the run has threads.

    Threads wait for each other at every operation, so that one without a core holds up all of them.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.since: threads.CpuTimes | None = None
        self.is_said = count == 1

    def on_train_epoch_start(self, *_: Any) -> None:
        self.since = threads.CpuTimes.read()

    def on_train_epoch_end(self, *_: Any) -> None:
        idle = threads.idle_cores(self.since)
        if not self.is_said and idle < self.count:
            log.info(
                f"other processes leave this run {idle} of {threads.cores()} cores, and its {self.count} threads wait "
                f"for each other. It may be faster to stop it by Ctrl-C and to resume it with threads={idle}."
            )
            self.is_said = True
