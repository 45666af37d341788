"""Install handlers for Ctrl-C (SIGINT) and SIGTERM; no other file does, but the first lines of train.py."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from .errors import Interrupted

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
            signal.signal(number, signal.SIG_DFL if before is None else before)  # None: not set from Python


def stop(number: int, _: Any) -> NoReturn:
    """Handle a signal by Interrupted."""
    raise Interrupted(f"stopped by {signal.Signals(number).name}", 128 + number)


@contextlib.contextmanager
def ignored_ctrl_c() -> Iterator[None]:
    """Ignore Ctrl-C here, and in processes that are started until the end of the context, unless they handle it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold a signal back until the end of the context, for imports, which may swallow what a handler raises.

    Raises Interrupted at the end; a second signal ends the process at once.
    """
    received: list[int] = []

    def receive(number: int, _: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)

    with handling(receive):
        yield
    if received:
        stop(received[0], None)
