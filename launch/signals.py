"""The one place that installs handlers for Ctrl-C (SIGINT) and SIGTERM."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, Any], Any] | int


def install(handler: Handler) -> dict[signal.Signals, Any]:
    """Set `handler` for both signals and return the earlier handler of each."""
    return {number: signal.signal(number, handler) for number in STOP_SIGNALS}


@contextlib.contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Handle both signals by `handler` until the end of the context."""
    earlier = install(handler)
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
