"""End a training with the epoch in which its time is up."""

from datetime import timedelta
from typing import Any

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks.timer import Interval


class Timer(callbacks.Timer):
    """Ends a training between epochs alone. Lightning's would end a resumed one before its first batch."""

    def __init__(self, duration: str | timedelta | dict[str, int]) -> None:
        super().__init__(duration, Interval.epoch, verbose=False)

    def on_fit_start(self, *_: Any, **__: Any) -> None:
        pass
