"""The one place that installs handlers for Ctrl-C (SIGINT) and SIGTERM."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], object] | int


def install(handler: Handler) -> dict[int, object]:
    """Set `handler` for both signals and return the handlers before, by signal."""
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Handle both signals by `handler` until the end of the context."""
    previous = install(handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)  # type: ignore[arg-type]
