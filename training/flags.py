"""The command line of the programs that take plain flags. Nothing here imports torch."""

import argparse
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import errors


class Flags(argparse.ArgumentParser):
    """Raises SettingsError where argparse would print its usage and exit."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def error(self, message: str) -> NoReturn:
        raise errors.SettingsError(f"{message.rstrip('.')}. --help shows the flags.")


def run(program: Callable[[], int]) -> NoReturn:
    """End the process with the program's exit status; whatever it raises is answered in one line."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = program()
    except (Exception, errors.Interrupted) as error:
        status = errors.report(error)[0]
    except KeyboardInterrupt:
        status = errors.report(errors.Interrupted("stopped by SIGINT", 128 + signal.SIGINT))[0]
    sys.exit(status)


def _terminate(*_: object) -> None:
    raise errors.Interrupted("stopped by SIGTERM", 128 + signal.SIGTERM)
